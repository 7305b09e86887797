"""The command line: exit codes of misuse, two lines and no traceback, and `rollover tlsa`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import termios
import time
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Annotated

import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rollover import __version__
from rollover.cli import app as cli
from rollover.cli.options import Options, options
from rollover.core.errors import Busy, UsageError

PROGRAM = "import sys; from rollover.cli.app import main; sys.exit(main())"


def process(*arguments: str, prefix: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
    """Run rollover as a process of its own; *prefix* is Python that runs before it."""
    command = [sys.executable, "-c", f"{prefix}\n{PROGRAM}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **settings)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a caller of main(): exit code, stdout, stderr."""

    def main(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return main


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[BaseException], None]]:
    """Return a setter of the error with which the command `broken` ends."""

    def with_error(error: BaseException) -> None:
        def command() -> None:
            """Fail."""
            raise error

        monkeypatch.setattr(cli.import_module("rollover.cli.records"), "broken", command, raising=False)
        monkeypatch.setitem(cli.COMMANDS, "broken", ("records:broken", "Fail."))

    yield with_error


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return files: key, certificate, both in one, a certificate beside another's key."""
    directory = tmp_path_factory.mktemp("pem")
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.example.org")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=9))
        .sign(key, hashes.SHA256())
    ).public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    contents = {
        "key": key.private_bytes(*form),
        "certificate": certificate,
        "both": key.private_bytes(*form) + certificate,
        "mismatch": other.private_bytes(*form) + certificate,
        "truncated": certificate[:-40],
        "empty": b"",
        "der": x509.load_pem_x509_certificate(certificate).public_bytes(serialization.Encoding.DER),
    }
    for file, content in contents.items():
        (directory / file).write_bytes(content)
    return {file: directory / file for file in contents}


# --- misuse

MISUSE: dict[str, tuple[list[str], list[str]]] = {
    "no command": ([], ["missing command", "rollover --help"]),
    "a command that does not exist": (["frobnicate"], ["no such command: frobnicate", "rollover --help"]),
    "a mistyped command": (["tsla"], ["no such command: tsla", "did you mean `rollover tlsa`?"]),
    "an option that does not exist": (["--quick"], ["no such option: --quick", "rollover --help"]),
    "a mistyped global option": (["--verbos", "tlsa", "x"], ["no such option: --verbos", "--verbose"]),
    "a mistyped option of a command": (["tlsa", "--hots", "m.example", "x"], ["no such option: --hots", "--host"]),
    "an option without its value": (
        ["tlsa", "x", "--host"],
        ["--host", "requires an argument", "--help"],
    ),
    "a flag with a value": (["--verbose=1", "tlsa", "x"], ["--verbose", "does not take a value"]),
    "a missing argument": (["tlsa"], ["missing argument 'FILE'", "rollover tlsa --help"]),
    "an argument too many": (["tlsa", "x", "y"], ["unexpected extra argument", "(y)"]),
    "a word for a number": (["tlsa", "--host", "m.example.org", "--port", "smtp", "x"], ["--port", "integer"]),
    "a port that is too large": (
        ["tlsa", "--host", "m.example.org", "--port", "70000", "x"],
        ["--port 70000", "65535"],
    ),
    "a port without host": (["tlsa", "--port", "25", "x"], ["--port without --host", "--host mail.example.org"]),
    "a host that is none": (["tlsa", "--host", "192.0.2.1", "x"], ['--host "192.0.2.1": an address']),
    "an internationalised host": (["tlsa", "--host", "bücher.example", "x"], ["xn--bcher-kva.example"]),
    "records of usage 2": (["tlsa", "--records", "2 1 1", "x"], ['--records "2 1 1"', 'write "3 1 1"']),
    "records that are none": (["tlsa", "--records", "311", "x"], ['--records "311"', 'write "3 1 1"']),
}


@pytest.mark.parametrize("row", MISUSE)
def test_misuse_is_64_and_two_lines(row: str, call: Callable[..., tuple[int, str, str]]) -> None:
    """A command line that makes no sense is exit 64, an error line and a hint line, nothing else."""
    arguments, fragments = MISUSE[row]

    code, out, err = call(*arguments)

    assert (code, out) == (64, "")
    error, hint = err.splitlines()
    assert error.startswith("rollover: error: ")
    assert hint.startswith("rollover: hint: ")
    for fragment in fragments:
        assert fragment in err


def test_no_misuse_shows_a_traceback_of_the_process() -> None:
    """As a process of its own, too, the two lines are all that is printed."""
    done = process("tlsa", "--hots", "x")

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (64, "", 2)


# --- errors

ENDS: dict[str, tuple[BaseException, int, list[str]]] = {
    "one of ours": (Busy("another run is at work", hint="wait"), 75, ["error: another run is at work", "hint: wait"]),
    "a text of many lines": (UsageError("a\nb\x1b[2Jc", hint="d\te"), 64, ["error: a b [2Jc", "hint: d e"]),
    "a file that is closed": (
        PermissionError(13, "Permission denied", "/etc/x"),
        77,
        ["/etc/x: Permission denied", "root"],
    ),
    "a full disk": (
        OSError(28, "No space left on device", "/var/lib/x"),
        73,
        ["/var/lib/x: No space left", "make room"],
    ),
    "a broken disk": (OSError(5, "Input/output error", "/var/lib/x"), 74, ["/var/lib/x: Input/output error"]),
    "a bug": (
        KeyError("s3cret"),
        70,
        [f"a bug in rollover {__version__}: KeyError in test_cli.py, line ", "--verbose"],
    ),
    "no memory": (MemoryError(), 70, ["MemoryError"]),
    "an answer that was refused": (typer.Abort(), 75, ["interrupted; nothing is lost"]),
    "Ctrl-C": (KeyboardInterrupt(), 75, ["rollover: interrupted; nothing is lost"]),
    "a reader that had enough": (BrokenPipeError(32, "Broken pipe"), 74, []),
}


@pytest.mark.parametrize("row", ENDS)
def test_every_end_has_its_code_and_no_traceback(
    row: str,
    call: Callable[..., tuple[int, str, str]],
    broken: Callable[[BaseException], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a command raises becomes at most two lines and an exit code of sysexits(3)."""
    monkeypatch.setattr("rollover.cli.errors._forget_stdout", lambda: None)
    error, expected, fragments = ENDS[row]
    broken(error)

    code, out, err = call("broken")

    assert (code, out) == (expected, "")
    assert len(err.splitlines()) <= 2
    assert all(x.startswith("rollover: ") and x.isprintable() for x in err.splitlines())
    assert "Traceback" not in err
    assert "s3cret" not in err
    for fragment in fragments:
        assert fragment in err
    assert fragments or not err


def test_verbose_shows_the_traceback_above_the_two_lines(
    call: Callable[..., tuple[int, str, str]], broken: Callable[[BaseException], None]
) -> None:
    """With --verbose a bug shows where it is; the two lines are still the last ones."""
    broken(KeyError("x"))

    code, _, err = call("--verbose", "broken")

    assert code == 70
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-2].startswith("rollover: error: a bug")
    assert err.splitlines()[-1].startswith("rollover: hint: ")


def test_an_interrupt_of_the_process_is_75() -> None:
    """SIGINT in the middle of a command ends it with one line and exit 75."""
    heard = (
        f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {PROGRAM}"  # a shell's & ignores it
    )
    with subprocess.Popen(
        [sys.executable, "-c", heard, "tlsa", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        running.stdin.write("-")
        running.stdin.flush()
        while _unread(running.stdin.fileno()):  # then it is in the middle of reading
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)

    assert (running.returncode, err) == (75, "rollover: interrupted; nothing is lost, the next run goes on from here\n")


def _unread(pipe: int) -> int:
    """Return how many octets the other end of a pipe has not read yet."""
    count = array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def test_a_reader_that_had_enough_is_quiet(pem: dict[str, Path]) -> None:
    """Output into a closed pipe ends without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        command = [sys.executable, "-c", PROGRAM, "tlsa", str(pem["key"])]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (74, "")


def test_output_that_cannot_be_written_is_an_error(pem: dict[str, Path]) -> None:
    """Output onto a full disk is exit 73 with two lines, not silence with exit 0."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", PROGRAM, "tlsa", str(pem["key"])]
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=buffered
        )

    assert done.returncode == 73
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 2


# --- the table of commands


def test_a_command_ends_with_what_it_returns(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An int that a command returns, or gives to typer.Exit, is the exit code; nothing is 0."""

    def command(ctx: typer.Context, how: Annotated[str, typer.Argument()]) -> int | None:
        """End."""
        print(options(ctx).config)
        if how == "exit":
            raise typer.Exit(2)
        return 3 if how == "return" else None

    monkeypatch.setattr(import_module("rollover.cli.records"), "ending", command, raising=False)
    monkeypatch.setitem(cli.COMMANDS, "ending", ("records:ending", "End."))

    assert call("ending", "exit")[0] == 2
    assert call("ending", "return")[0] == 3
    assert call("--config", "/x.toml", "ending", "quietly") == (0, "/x.toml\n", "")


def test_a_group_of_commands(call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A typer.Typer in the table is a command with subcommands, which see the global options too."""
    group = cli.plain_typer()

    @group.callback()
    def _group() -> None:
        """Do things."""

    @group.command()
    def install(ctx: typer.Context, client: str) -> None:
        """Install."""
        print(client, options(ctx) == Options(verbose=True))

    monkeypatch.setattr(import_module("rollover.cli.records"), "group", group, raising=False)
    monkeypatch.setitem(cli.COMMANDS, "hooks", ("records:group", "Do things."))

    assert call("--verbose", "hooks", "install", "certbot") == (0, "certbot True\n", "")
    code, _, err = call("hooks", "instal", "certbot")
    assert code == 64
    assert "no such command 'instal'. Did you mean 'install'?" in err
    assert "rollover hooks --help" in err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_table_says_what_the_command_says(name: str) -> None:
    """The line in `rollover --help` is the first line of the command's own help."""
    place, does = cli.COMMANDS[name]
    module, _, attribute = place.partition(":")
    target = getattr(import_module(f"rollover.cli.{module}"), attribute)
    command = target if not isinstance(target, typer.Typer) else target.registered_callback.callback

    assert (command.__doc__ or "").splitlines()[:1] == [does]
    assert does.endswith(".")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([name, "--help"] for name in cli.COMMANDS)])
def test_help_is_plain_and_fits_80_columns(arguments: list[str], call: Callable[..., tuple[int, str, str]]) -> None:
    """Help has no escape sequence, no box, and no line of more than 80 columns."""
    code, out, err = call(*arguments)

    assert (code, err) == (0, "")
    assert out.startswith("Usage: rollover ")
    assert all(len(line) <= 80 and line.isprintable() for line in out.splitlines())
    assert not set("│╭─") & set(out)


def test_version(call: Callable[..., tuple[int, str, str]]) -> None:
    """--version prints name and version."""
    assert call("--version") == (0, f"rollover {__version__}\n", "")


def test_help_does_not_import_what_commands_need() -> None:
    """`rollover --help` and --version load neither DNS, nor certificates, nor the configuration."""
    prefix = "import atexit, sys; atexit.register(lambda: print(*sorted(x.partition('.')[0] for x in sys.modules)))"
    for option in ("--help", "--version"):
        loaded = set(process(option, prefix=prefix).stdout.split())

        assert "typer" in loaded
        assert not loaded & {"dns", "cryptography", "OpenSSL", "pydantic", "rich", "asyncio", "sqlite3", "ssl"}


# --- rollover tlsa


def digest(file: Path, *, spki: bool, algorithm: str = "sha256") -> str:
    """Return the association data of the certificate in *file*, by cryptography alone."""
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    selected = (
        certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if spki
        else certificate.public_bytes(serialization.Encoding.DER)
    )
    return hashlib.new(algorithm, selected).hexdigest()


@pytest.mark.parametrize("kind", ["key", "certificate", "both"])
def test_tlsa_of_key_certificate_or_both(
    kind: str, pem: dict[str, Path], call: Callable[..., tuple[int, str, str]]
) -> None:
    """The same 3 1 1 comes from the key, the certificate, and a file with both."""
    expected = digest(pem["certificate"], spki=True)

    assert call("tlsa", str(pem[kind])) == (0, f"3 1 1 {expected}\n", "")


def test_tlsa_with_owner_name(pem: dict[str, Path], call: Callable[..., tuple[int, str, str]]) -> None:
    """--host and --port give whole records, absolute and in lower case; without a port it is 25."""
    file, rdata = str(pem["certificate"]), f"3 1 1 {digest(pem['certificate'], spki=True)}"

    assert (
        call("tlsa", file, "--host", "Mail.example.org", "--port", "465")[1]
        == f"_465._tcp.mail.example.org. IN TLSA {rdata}\n"
    )
    assert call("tlsa", file, "--host", "mail.example.org.")[1] == f"_25._tcp.mail.example.org. IN TLSA {rdata}\n"


def test_tlsa_in_several_combinations(pem: dict[str, Path], call: Callable[..., tuple[int, str, str]]) -> None:
    """--records may be repeated; each combination is one line, in the order asked for."""
    file = pem["certificate"]

    code, out, _ = call("tlsa", str(file), "--records", "3 0 1", "--records", "3 1 2")

    assert code == 0
    assert out.splitlines() == [
        f"3 0 1 {digest(file, spki=False)}",
        f"3 1 2 {digest(file, spki=True, algorithm='sha512')}",
    ]


def test_tlsa_reads_stdin(pem: dict[str, Path]) -> None:
    """A file named - is standard input."""
    with pem["certificate"].open() as stream:
        done = process("tlsa", "-", stdin=stream)

    assert done.stdout == f"3 1 1 {digest(pem['certificate'], spki=True)}\n"


BAD_FILES: dict[str, tuple[list[str], int, list[str]]] = {
    "absent": (["{}/nothing"], 65, ["/nothing: No such file or directory"]),
    "a directory": (["{}"], 65, [": a directory", "/fullchain.pem"]),
    "empty": (["{}/empty"], 65, ["no PEM certificate found"]),
    "truncated": (["{}/truncated"], 65, ["truncated"]),
    "DER": (["{}/der"], 65, ["no PEM certificate found"]),
    "gigantic": (["/dev/zero"], 65, ["/dev/zero: larger than 1048576 octets"]),
    "certificate and key that do not belong together": (["{}/mismatch"], 65, ["the key does not belong"]),
    "selector 0 of a key": (["{}/key", "--records", "3 0 1"], 65, ["no records of selector 0", '--records "3 1 1"']),
}


@pytest.mark.parametrize("row", BAD_FILES)
def test_tlsa_of_a_bad_file(row: str, pem: dict[str, Path], call: Callable[..., tuple[int, str, str]]) -> None:
    """What is no certificate and no key is exit 65, two lines, and no record."""
    arguments, expected, fragments = BAD_FILES[row]
    directory = pem["key"].parent

    code, out, err = call("tlsa", *(x.format(directory) for x in arguments))

    assert (code, out) == (expected, "")
    assert len(err.splitlines()) == 2
    for fragment in fragments:
        assert fragment in err
