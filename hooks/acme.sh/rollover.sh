#!/usr/bin/env sh
# Hands a certificate of acme.sh to rollover, and returns within seconds.
#
#   acme.sh --deploy -d NAME --deploy-hook rollover
#
# once for each certificate; acme.sh remembers it and runs the hook after every renewal. A
# certificate that no service wants is left alone, with status 0. When this fails nothing is lost:
# acme.sh tries the hook at its next renewal only, but `rollover advance` looks for the certificate
# every minute.
#
# Written by `rollover hook install acme.sh`, which fills in the command; `rollover hook remove
# acme.sh` takes it away.

# domain keyfile certfile cafile fullchain [pfx]
rollover_deploy() {
  if [ $# -lt 5 ] || [ -z "$2" ] || [ -z "$5" ]; then
    _rollover_say _err "rollover_deploy: needs domain, key, certificate, CA and full chain"
    return 1
  fi
  _rollover_say _debug "rollover_deploy: domain $1, key $2, full chain $5"

  # A shell of its own: acme.sh goes on afterwards, with the environment that it had.
  if (
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    LC_ALL=C
    export PATH LC_ALL
    unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONWARNINGS PYTHONINSPECT LD_LIBRARY_PATH
    umask 077
    exec @ROLLOVER@ deploy "$5" "$2"
  ); then
    _rollover_say _info "rollover has taken over the certificate of $1"
    return 0
  fi
  _rollover_say _err "rollover did not take the certificate of $1; the old one goes on being served"
  return 1
}

# Speak through acme.sh where its functions are defined.
_rollover_say() {
  if command -v "$1" >/dev/null 2>&1; then
    "$1" "$2"
  elif [ "$1" = _err ]; then
    echo "$2" >&2
  fi
}
