#!/bin/bash
# What ./test.sh and ./demo.sh do to set themselves up, and say while they do it: Debian packages,
# a virtual environment, the pinned Python packages with their hashes, rollover from this tree.
# Both source this file at their start; the working directory is then the project's.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
umask 022
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTEST_ADDOPTS
export LC_ALL=C.UTF-8 PATH="$PATH:/usr/sbin:/sbin" PIP_DISABLE_PIP_VERSION_CHECK=1

# shellcheck disable=SC2034  # for those who source this
LAB_PACKAGES=(
    bind9 bind9-utils bind9-dnsutils unbound postfix pebble
    certbot python3-certbot-dns-rfc2136 openssl iproute2 util-linux python3-venv
)
VENV=.venv

step() { printf '==> %s\n' "$*"; }

fail() { # MESSAGE HINT CODE
    local name=${0##*/}
    printf '%s: error: %s\n%s: hint: %s\n' "$name" "$1" "$name" "$2" >&2
    exit "$3"
}

scratch=$(mktemp -d /tmp/rt.XXXXXX) # short: servers put sockets below it, whose paths end at 107 octets
policy=/usr/sbin/policy-rc.d
policy_is_ours=
restore_policy() {
    if [ -z "$policy_is_ours" ]; then return 0; fi # 0: in a trap it would be the status before
    rm -f "$policy"
    if [ -e "$scratch/policy-rc.d" ]; then cp -a "$scratch/policy-rc.d" "$policy"; fi
    policy_is_ours=
}
debian= # the process that installs Debian packages beside this one, while it does
clean_up() { # for the trap on EXIT of whoever sources this
    if [ -n "$debian" ]; then wait "$debian" || true; fi
    restore_policy
    rm -rf "$scratch"
}

install_debian_packages() { # PACKAGE…; without root those that are missing are only named
    local missing=() package state
    for package in "$@"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        if [ "$state" != installed ]; then missing+=("$package"); fi
    done
    if [ ${#missing[@]} -eq 0 ]; then
        step "Debian packages: all $# are there"
        return
    elif [ "$(id -u)" -ne 0 ]; then
        step "Debian packages: missing, and not installed without root: ${missing[*]}"
        return
    fi
    step "Debian packages: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # No daemon is started, and Postfix gets no configuration: tests and demo bring their own.
    if [ -e "$policy" ]; then cp -a "$policy" "$scratch/policy-rc.d"; fi
    policy_is_ours=yes
    rm -f "$policy"
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    apt-get update -q -q
    # --no-remove: rather none of this than a host without the mail server that it had.
    apt-get install -q -q --yes --no-install-recommends --no-remove "${missing[@]}" >"$scratch/apt.log" 2>&1 || {
        tail -n 20 "$scratch/apt.log" >&2
        fail "apt-get cannot install ${missing[*]}" "see above; another mail server has to be removed by hand first" 69
    }
    restore_policy
}

install_debian_packages_beside() { # PACKAGE…; until wait_for_debian_packages nothing may need one of them
    (
        trap restore_policy EXIT
        install_debian_packages "$@"
    ) >"$scratch/debian" 2>&1 &
    debian=$!
}

wait_for_debian_packages() {
    local code=0
    wait "$debian" || code=$?
    debian=
    cat "$scratch/debian"
    return "$code"
}

# What is installed there, and from what: a stamp for each. --version: a lock is good for one Python.
stamp_of() { { "$VENV/bin/python" --version && pwd && cat "$@"; } | sha256sum; }

install_python_packages() { # sets $python, the interpreter outside of the virtual environment
    local candidate lock_stamp project_stamp
    python=
    for candidate in /usr/bin/python3 python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || fail "no Python 3.11 or newer" "apt-get install python3 python3-venv" 69

    if ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
        step "virtual environment: making $VENV with $python"
        rm -rf "$VENV"
        "$python" -m venv "$VENV" || fail "$python cannot make a virtual environment" "apt-get install python3-venv" 69
    fi

    lock_stamp=$(stamp_of requirements/test.txt)
    if [ "$lock_stamp" = "$(cat "$VENV/.lock-stamp" 2>/dev/null)" ]; then
        step "Python packages: as in requirements/test.txt"
    else
        step "Python packages: installing requirements/test.txt, hashes checked"
        "$VENV/bin/python" -m pip install --quiet --require-hashes --no-deps -r requirements/test.txt
        "$VENV/bin/python" -m pip check
        echo "$lock_stamp" >"$VENV/.lock-stamp"
    fi
    project_stamp=$(stamp_of pyproject.toml rollover/__init__.py)
    if [ "$project_stamp" = "$(cat "$VENV/.project-stamp" 2>/dev/null)" ] && [ -x "$VENV/bin/rollover" ]; then
        step "rollover: installed in $VENV from this tree"
    else
        step "rollover: installing this tree into $VENV, editable"
        "$VENV/bin/python" -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
        echo "$project_stamp" >"$VENV/.project-stamp"
    fi
    # As pip does with what it installs; where PYTHONDONTWRITEBYTECODE is set, every start of the
    # command would compile it anew, which is a third of its time.
    "$VENV/bin/python" -m compileall -q rollover tests || step "not compiled, so that everything starts more slowly"
}
