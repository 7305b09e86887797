#!/bin/bash
# ./demo.sh    a certificate is renewed twice under a load of mail, the usual way and with rollover
#
# Needs Debian 12 and root; installs what is missing there. The servers run in a private namespace;
# nothing of the host is stopped, started or configured, and nothing is left when it ends.
# Exit code: 0 when rollover deferred no message and the usual way did, 1 when that was not so.

glyphs=() # before the set-up changes the locale: it is the terminal's that counts
if [ "$(locale charmap 2>/dev/null)" != UTF-8 ]; then glyphs=(--ascii); fi

# shellcheck source=tests/setup.sh
. "$(dirname "$(readlink -f "$0")")/tests/setup.sh"
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

case ${1-} in
'') ;;
-h | --help)
    sed -n '2,6s/^# \{0,1\}//p' demo.sh
    exit 0
    ;;
*) fail "demo.sh takes no argument: $1" "./demo.sh --help" 64 ;;
esac
if [ "$(id -u)" -ne 0 ]; then
    fail "the demonstration needs root, for a network namespace with ports 25 and 53" "sudo ./demo.sh" 77
fi

install_debian_packages "${LAB_PACKAGES[@]}"
install_python_packages
clean_up
echo
exec tests/lab/enter "$VENV/bin/python" -m tests.demo "${glyphs[@]}"
