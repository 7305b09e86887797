"""The tool's command without the start of an interpreter: a process that has imported it forks for each run.

Python's start and the imports are more than half of a short command's processor time, and the tests
run it two thousand times. What a fork runs is what the program runs, with arguments, environment,
directory and standard streams of its own. ROLLOVER_TEST_EXEC=1 starts the program instead, every time.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .process import LabError

COLD = "ROLLOVER_TEST_EXEC"
# What an interpreter or the C library reads at its start: who changes it needs a new one.
AT_START = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "FAKETIME")
_NUMBER = struct.Struct("=i")
_LONGEST = 1 << 18


def fits(env: Mapping[str, str]) -> bool:
    """Tell whether a fork can run with this environment as a new process would."""

    def read_at_start(of: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in of.items() if name.startswith(AT_START)}

    return not os.environ.get(COLD) and read_at_start(env) == read_at_start(os.environ)


class Warm:
    """A server, started when it is first needed; it ends with this process."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def run(
        self,
        entry: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        input: str | None = None,  # noqa: A002 - subprocess.run's name for it
        seconds: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Call *entry* ("module:function") in a new process and end it with what that returns.

        sys.argv is *argv* there. Raises subprocess.TimeoutExpired after *seconds*, when the process was killed.
        """
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            source.write((input or "").encode())
            source.seek(0)
            told, tell = os.pipe()
            try:
                request = {"entry": entry, "argv": list(argv), "env": dict(env), "cwd": str(Path.cwd())}
                try:
                    socket.send_fds(
                        self._connected(),
                        [json.dumps(request).encode()],
                        [source.fileno(), out.fileno(), err.fileno(), tell],
                    )
                finally:
                    os.close(tell)
                code = _outcome(told, argv, seconds)
            finally:
                os.close(told)
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(list(argv), code, out.read().decode(), err.read().decode())

    def close(self) -> None:
        """End the server."""
        if self._socket is not None and self._server is not None:
            self._socket.close()
            self._server.wait()
        self._socket = self._server = None

    def _connected(self) -> socket.socket:
        if self._server is not None and self._server.poll() is not None:
            self.close()
        if self._socket is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                command = [sys.executable, "-c", "from tests.lab import warm; warm.main()", str(theirs.fileno())]
                where = Path(__file__).resolve().parents[2]
                self._server = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], cwd=where, stdin=subprocess.DEVNULL
                )
            self._socket = ours
        return self._socket


def _outcome(told: int, argv: Sequence[str], seconds: float) -> int:
    """Read from the guardian: the process's id, then how it ended; return its exit code, -N for signal N."""
    deadline = time.monotonic() + seconds
    pid = 0
    while True:
        if not select.select([told], [], [], max(deadline - time.monotonic(), 0))[0]:
            if pid:
                os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(argv), seconds)
        number = os.read(told, _NUMBER.size)
        if len(number) < _NUMBER.size:
            raise LabError("the process that forks the tool's command is gone")
        if pid:
            return os.waitstatus_to_exitcode(_NUMBER.unpack(number)[0])
        (pid,) = _NUMBER.unpack(number)


# ------------------------------------------------------------------------------------------ the server


def _import_the_tool() -> None:
    import rollover

    for module in pkgutil.walk_packages(rollover.__path__, "rollover."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _serve(requests: socket.socket) -> str:
    """Fork for every request; return its entry in the process that is to run it."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _LONGEST, 4)
        if not message:
            os._exit(0)  # who asked is gone
        request = json.loads(message)
        importlib.import_module(request["entry"].partition(":")[0])
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    requests.close()
    *streams, tell = descriptors
    if pid := os.fork():  # the guardian
        for descriptor in streams:
            os.close(descriptor)
        os.write(tell, _NUMBER.pack(pid))
        os.write(tell, _NUMBER.pack(os.waitpid(pid, 0)[1]))
        os._exit(0)
    os.close(tell)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["argv"]
    return str(request["entry"])


def main() -> None:
    """Be the server, on the socket whose descriptor is the argument; in a fork, be what was asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_the_tool()
    if os.environ.get("ROLLOVER_WITHOUT"):  # tests/reactions
        from tests.reactions.plugin import take_out_what_is_named

        take_out_what_is_named()
    gc.freeze()  # no run goes through, and so copies, what all of them share
    entry = _serve(socket.socket(fileno=int(sys.argv[1])))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    module, _, function = entry.partition(":")
    sys.exit(getattr(sys.modules[module], function)())
