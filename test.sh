#!/bin/bash
# ./test.sh            everything: set-up, static checks, wheel, unit tests, simulation, then the tests on real servers
# ./test.sh --all      the same, and every single point at which a run can be killed, and five times the worlds
# ./test.sh --unit     without root: all but the tests on real servers
# ./test.sh PATH…      only these tests; options of pytest such as -k and -x are handed on
#
# Needs Debian 12 with Python 3.11; as root it installs what else is missing. The servers run in
# private namespaces; nothing of the host is stopped, started or configured.
# ROLLOVER_TEST_JOBS: how many labs run at the same time (default 5). ROLLOVER_TEST_EXEC=1: every run of the command
# starts the program, where most are forked from a process that has imported it (tests/lab/warm.py): twice the time.

# shellcheck source=tests/setup.sh
. "$(dirname "$(readlink -f "$0")")/tests/setup.sh"

PACKAGES=("${LAB_PACKAGES[@]}" dovecot-imapd swaks gnutls-bin ldnsutils faketime shellcheck strace)
JOBS=${ROLLOVER_TEST_JOBS:-5}
NOBODY=65534
LED_SEEDS=1-1201/2 # of tests/sim/run: every other one is led
MEETINGS=20

cleanup() {
    code=$?
    clean_up
    printf '==> total time: %d min %02d s\n' $((SECONDS / 60)) $((SECONDS % 60))
    exit "$code"
}
trap cleanup EXIT
trap 'exit 75' INT TERM HUP

# --- what is asked for

only_unit=
selected=
unit_paths=() lab_paths=() options=()
for argument in "$@"; do
    case $argument in
    --unit) only_unit=yes ;;
    --all)
        export ROLLOVER_KILL_ALL=1
        LED_SEEDS=1-4801/2 MEETINGS=60
        ;;
    -h | --help)
        sed -n '2,10s/^# \{0,1\}//p' test.sh
        trap - EXIT
        rm -rf "$scratch"
        exit 0
        ;;
    tests/unit* | ./tests/unit*) unit_paths+=("$argument") selected=yes ;;
    tests/* | ./tests/*) lab_paths+=("$argument") selected=yes ;;
    *) options+=("$argument") selected=yes ;;
    esac
done
if [ ${#unit_paths[@]} -eq 0 ] && [ ${#lab_paths[@]} -eq 0 ]; then
    unit_paths=(tests/unit)
    for directory in tests/servers tests/rollover; do
        if [ -d "$directory" ]; then lab_paths+=("$directory"); fi
    done
fi
if [ -n "$only_unit" ]; then lab_paths=(); fi
if [ "$(id -u)" -ne 0 ] && [ ${#lab_paths[@]} -gt 0 ]; then
    fail "the tests on real servers need root, for namespaces and for ports 25 and 53" \
        "run it as root, or run the other tests: ./test.sh --unit" 77
fi

# --- set-up

install_debian_packages python3-venv openssl # all that is needed before the labs are
install_debian_packages_beside "${PACKAGES[@]}"
install_python_packages

# --- static checks and the wheel

shell_scripts() { # print every file of the project that is a script of sh or bash
    find . -type d \( -name '.?*' -a ! -name .ci -o -name __pycache__ -o -name build -o -name dist \) -prune \
        -o -type f -size -200k -print0 | while IFS= read -r -d '' file; do
        IFS= read -r first <"$file" || true
        if [[ $first =~ ^'#!'.*[/\ ](ba|da)?sh([ ]|$) ]]; then printf '%s\n' "$file"; fi
    done 2>/dev/null
}

check_wheel() { # build it, install it where nothing else is, and look whether it works there
    "$VENV/bin/python" -m pip wheel --quiet --no-index --no-deps --no-build-isolation -w "$scratch/wheel" .
    "$python" -m venv --without-pip "$scratch/venv"
    local packages here
    packages=$("$scratch/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    here=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # The dependencies come from the tests' environment; a .pth there is not followed, so rollover does not.
    echo "$here" >"$packages/dependencies.pth"
    "$VENV/bin/python" -m pip --python "$scratch/venv/bin/python" install --quiet --no-index --no-deps "$scratch"/wheel/*.whl
    (cd / && "$scratch/venv/bin/rollover" --help >/dev/null)
    local share
    share=$(cd / && "$scratch/venv/bin/python" -c 'import rollover; print(rollover.__path__[0])')/_share
    case $share in "$scratch"/*) ;; *) fail "the wheel was not what ran: $share" "see check_wheel in test.sh" 70 ;; esac
    for directory in hooks systemd; do
        diff -r -x __pycache__ "$directory" "$share/$directory" ||
            fail "the wheel lacks $directory, or has another one" "see force-include in pyproject.toml" 70
    done
}

if [ -z "$selected" ]; then
    step "ruff check"
    "$VENV/bin/ruff" check --quiet .
    step "ruff format --check"
    "$VENV/bin/ruff" format --quiet --check . || fail "not formatted" "$VENV/bin/ruff format ." 65
    step "mypy --strict rollover"
    "$VENV/bin/mypy" --strict --no-error-summary -p rollover
    step "wheel: build, install, run"
    check_wheel
fi

# --- tests

ran=
run_pytest() { # COMMAND…; when a part was asked for, the other stage may have nothing to do
    local code=0
    "$@" || code=$?
    if [ "$code" -eq 5 ] && [ -n "$selected" ]; then return 0; fi
    ran=yes
    return "$code"
}

on_real_servers() { # LABS ARGUMENT…; leaves in $scratch/again what tests/second_chance.py says
    : >"$scratch/again"
    env TMPDIR="$scratch" ROLLOVER_TEST_AGAIN="$scratch/again" "$VENV/bin/python" -m pytest -q \
        -p tests.no_skips -p tests.second_chance --basetemp="$scratch/l" \
        --tx "$1*popen//python=tests/lab/python" --dist loadfile --no-loadscope-reorder "${@:2}"
}

if [ ${#unit_paths[@]} -gt 0 ]; then
    mkdir "$scratch/unit"
    chmod 711 "$scratch" # tests that give up root's rights need to reach their own files
    as_user=()
    who="user $(id -un)"
    if [ "$(id -u)" -eq 0 ]; then
        lesser=(setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups --inh-caps=-all --bounding-set=-all)
        # A clone below /root cannot be read by anybody else; in some containers /dev/null is root's alone.
        if "${lesser[@]}" "$VENV/bin/python" -c 'import pytest; open("pyproject.toml"); open("/dev/null", "w")' \
            2>/dev/null; then
            as_user=("${lesser[@]}")
            who="a user without any rights"
            chown "$NOBODY:$NOBODY" "$scratch/unit"
        else
            who="root, because no other user can read this directory and write /dev/null"
        fi
    fi
    step "unit tests, as $who"
    run_pytest "${as_user[@]}" env HOME="$scratch/unit" TMPDIR="$scratch/unit" PYTHONDONTWRITEBYTECODE=1 \
        HYPOTHESIS_STORAGE_DIRECTORY="$scratch/unit/hypothesis" \
        "$VENV/bin/python" -m pytest -q -p tests.no_skips -p no:cacheprovider -n 2 \
        "${options[@]}" "${unit_paths[@]}"
fi

if [ -z "$selected" ]; then
    step "simulated worlds: schedules that are led from phase to phase, each kind of fault at least $MEETINGS times in each"
    "$VENV/bin/python" -m tests.sim --seeds "$LED_SEEDS" --jobs 2 --pairs "$MEETINGS"
fi

wait_for_debian_packages
if [ -z "$selected" ]; then
    command -v shellcheck >/dev/null || fail "shellcheck is not installed" "apt-get install shellcheck" 69
    mapfile -t scripts < <(shell_scripts)
    step "shellcheck: ${scripts[*]}"
    shellcheck "${scripts[@]}"
fi

if [ ${#lab_paths[@]} -gt 0 ]; then
    step "tests on real servers, $JOBS labs at a time, each in its own namespace"
    code=0
    run_pytest on_real_servers "$JOBS" "${options[@]}" "${lab_paths[@]}" || code=$?
    mapfile -t again < <(cat "$scratch/again")
    if [ "$code" -eq 1 ] && [ ${#again[@]} -gt 0 ]; then
        step "${#again[@]} failed while other guests of the host had this machine's processors: once more, one lab at a time"
        printf '    %s\n' "${again[@]}"
        run_pytest on_real_servers 1 "${again[@]}"
    elif [ "$code" -ne 0 ]; then
        exit "$code"
    fi
elif [ -z "$selected" ]; then
    step "only the unit tests ran: the tests on real servers need root, ./test.sh"
fi
[ -n "$ran" ] || fail "no test was selected" "name a path below tests/, or an expression with -k that matches" 64
