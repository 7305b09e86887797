"""What the tests of the mail room share: a safe directory, a Dovecot."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import addresses as at
from tests.lab import wait_for


@contextmanager
def safe_directory() -> Iterator[Path]:
    """Yield a directory of root's below directories of root's: in the namespace's own /run."""
    directory = Path(tempfile.mkdtemp(dir="/run"))
    yield directory
    subprocess.run(["umount", "-q", directory / "disk"], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(directory)


def greets_imap(address: str) -> bool:
    with socket.create_connection((address, 143), timeout=5) as connection:
        greeting = connection.recv(512).startswith(b"* OK")
        connection.sendall(b"a LOGOUT\r\n")
        return greeting and b"BYE" in connection.recv(512)


@contextmanager
def dovecot(directory: Path, certificate: Path, key: Path, address: str = at.SPARE[1]) -> Iterator[Path]:
    """Run a real Dovecot that presents *certificate* on 143 and 993 of *address*; yield its log."""
    (directory / "run").mkdir(parents=True)
    log = directory / "log"
    configuration = directory / "dovecot.conf"
    configuration.write_text(f"""\
base_dir = {directory}/run
log_path = {log}
protocols = imap
listen = {address}
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = 143
  }}
  inet_listener imaps {{
    port = 993
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  unix_listener stats-reader {{
    mode = 0
  }}
}}
passdb {{
  driver = static
  args = nopassword=y
}}
verbose_ssl = yes
""")
    server = subprocess.Popen(["dovecot", "-F", "-c", str(configuration)], stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: greets_imap(address), "Dovecot greets")
        yield log
    finally:
        server.terminate()
        server.wait(timeout=10)
