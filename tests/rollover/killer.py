"""Run a command and kill it, and it alone, with SIGKILL before or after one system call: ptrace(2).

    python killer.py SPECIFICATION REPORT COMMAND…

SPECIFICATION is JSON: `watched`; `shapes`, which say for each number of a system call its name and
which arguments are descriptors and paths; `wanted`, [point, "before" | "after"] pairs, of which the
first that comes kills. REPORT gets {"fired": pair or null, "signal": …, "code": …}.

A process of its own, for waitpid(-1) must not take the children of a test. Before: the call is not
executed, since a process that dies in its seccomp stop never runs it. After: it has returned with
success. A program that the tool has started is not killed with it, as it would not be on a host.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.rollover.points import SENDS, Call, Sequence, Watched, label, opcode_of

TRACEME, CONT, SYSCALL, SETOPTIONS, GETEVENTMSG, SYSCALL_INFO = 0, 7, 24, 0x4200, 0x4201, 0x420E
FORK, VFORK, CLONE, EXEC, SECCOMP = 1, 2, 3, 4, 7  # PTRACE_EVENT_
OPTIONS = 1 | 1 << FORK | 1 << VFORK | 1 << CLONE | 1 << EXEC | 1 << SECCOMP
SYSTEM_CALL = signal.SIGTRAP | 0x80  # with PTRACE_O_TRACESYSGOOD
AT_FDCWD = -100
WALL = 0x40000000
OPENS = {"open": 1, "openat": 2}  # where the flags are
CREATES = os.O_CREAT | os.O_TRUNC

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long
_info = ctypes.create_string_buffer(88)


def ptrace(request: int, pid: int, address: int = 0, data: Any = 0) -> bool:
    """Return whether it succeeded; that a tracee has just died is no error."""
    return int(_libc.ptrace(request, pid, address, data)) >= 0


def stop_at(shapes: dict[int, dict[str, Any]]) -> None:
    """Have the kernel stop this process, and what it starts, at these system calls only: seccomp(2).

    An open counts only if it may create or truncate: imports open a thousand files.
    """
    load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06
    trace, allow = 0x7FF00000, 0x7FFF0000
    program = [(load, 0, 0, 0)]
    for number, shape in sorted(shapes.items(), key=lambda it: it[1]["name"] in OPENS):
        if (flags := OPENS.get(shape["name"])) is None:
            program += [(equal, 0, 1, number), (give, 0, 0, trace)]
        else:
            program += [(equal, 0, 3, number), (load, 0, 0, 16 + 8 * flags), (any_bit, 0, 1, CREATES)]
            program += [(give, 0, 0, trace), (load, 0, 0, 0)]
    program.append((give, 0, 0, allow))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    if _libc.prctl(22, 2, ctypes.byref(header), 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp")


class Killer:
    """One run."""

    def __init__(self, specification: dict[str, Any]) -> None:
        self.watched = Watched(**specification["watched"])
        self.shapes = {int(number): shape for number, shape in specification["shapes"].items()}
        self.wanted = {(point, side) for point, side in specification["wanted"]}
        self.sequence = Sequence()
        self.tool = 0
        self.family: dict[int, str] = {}  # by thread id: "tool", "child" of it, "other" that a program started
        self.pending: dict[int, str] = {}
        self.fired: tuple[str, str] | None = None

    def run(self, command: list[str]) -> dict[str, Any]:
        """Run *command*, and the programs that it leaves behind, to their end; return the report."""
        self.tool = os.fork()
        if self.tool == 0:
            ptrace(TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            stop_at(self.shapes)
            if (tool := sys.modules.get("rollover.cli.app")) and Path(command[0]).name == "rollover":
                sys.argv = command  # this was forked where it is imported: see tests/lab/warm.py
                sys.exit(tool.main())
            os.execv(command[0], command)
        self.family[self.tool] = "tool"
        os.waitpid(self.tool, WALL)
        assert ptrace(SETOPTIONS, self.tool, 0, OPTIONS)
        ptrace(CONT, self.tool)
        ended = 0
        while True:
            try:
                pid, status = os.waitpid(-1, WALL)
            except ChildProcessError:
                break
            if os.WIFSTOPPED(status):
                self._stopped(pid, status)
            elif pid == self.tool:
                ended = status
        killed = os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else 0
        code = os.waitstatus_to_exitcode(ended)
        return {"fired": self.fired, "signal": killed, "code": code}

    def _stopped(self, pid: int, status: int) -> None:
        event, stop = status >> 16, os.WSTOPSIG(status)
        go_on, send = CONT, 0
        if event in {FORK, VFORK, CLONE}:
            message = ctypes.c_ulong()
            ptrace(GETEVENTMSG, pid, 0, ctypes.byref(message))
            self._meet(message.value)
        elif event == SECCOMP:
            if self._enters(pid):
                go_on = SYSCALL  # stop again when it has returned
        elif event == EXEC or stop == SYSTEM_CALL:
            self._returned(pid, succeeded=event == EXEC)
        elif event == 0 and stop == signal.SIGSTOP:
            self._meet(pid)  # how a new one begins; its parent's event may come later
        elif event == 0:
            send = stop
        ptrace(go_on, pid, 0, send)

    def _meet(self, pid: int) -> None:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return
        told = dict(line.split(":", 1) for line in lines if ":" in line)
        if int(told["Tgid"]) == self.tool:
            self.family[pid] = "tool"
        else:
            self.family.setdefault(pid, "child" if int(told["PPid"]) == self.tool else "other")

    def _enters(self, pid: int) -> bool:
        """Kill if this is a point to be killed before; else tell whether its return is of interest."""
        if _libc.ptrace(SYSCALL_INFO, pid, len(_info), ctypes.byref(_info)) < 0:
            return False
        number, *arguments = struct.unpack_from("=7Q", _info.raw, 24)
        shape = self.shapes[number]
        whose = self.family.get(pid, "other")
        if whose != ("child" if shape["name"] == "execve" else "tool") or self.fired is not None:
            return False
        effect = label(_call(pid, shape, arguments), self.watched)
        if not effect:
            return False
        if (self.sequence.name(effect), "before") in self.wanted:
            self.fired = (self.sequence.name(effect), "before")
            if whose == "child":
                os.kill(pid, signal.SIGKILL)
            os.kill(self.tool, signal.SIGKILL)
            return False
        self.pending[pid] = effect
        return True

    def _returned(self, pid: int, *, succeeded: bool) -> None:
        """Kill if this is a point to be killed after."""
        if self.family.get(pid) == "child" and succeeded:
            self.family[pid] = "other"  # a program now; what it does is not the tool's
        if not (effect := self.pending.pop(pid, "")):
            return
        if not succeeded:
            if _libc.ptrace(SYSCALL_INFO, pid, len(_info), ctypes.byref(_info)) < 0:
                return
            _, failed = struct.unpack_from("=qB", _info.raw, 24)
            if failed:
                return
        if (self.sequence.name(effect), "after") in self.wanted and self.fired is None:
            self.fired = (self.sequence.name(effect), "after")
            os.kill(self.tool, signal.SIGKILL)
        self.sequence.happened(effect)


def _call(pid: int, shape: dict[str, Any], arguments: list[int]) -> Call:
    """Read the arguments of a system call as strace prints them."""
    name = shape["name"]
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        if name == "execve":
            words = _words(memory, arguments[1])
            return Call(name, (_text(memory, arguments[0]),), words)
        descriptors = {i: _descriptor(pid, arguments[i], name) for i in shape["descriptors"]}
        places = []
        for i in sorted({*shape["descriptors"], *shape["paths"]}):
            if i in shape["paths"]:
                places.append(str(Path(descriptors.get(i - 1, "")) / _text(memory, arguments[i])))
            elif i + 1 not in shape["paths"]:
                places.append(descriptors[i])
        opcode = None
        if name in SENDS and places[0].startswith(("TCP:", "UDP:")):
            memory.seek(arguments[1])
            opcode = opcode_of(memory.read(min(arguments[2], 8)), tcp=places[0].startswith("TCP:"))
    creates = name in OPENS and bool(arguments[OPENS[name]] & CREATES)
    return Call(name, tuple(places), creates=creates, opcode=opcode)


def _text(memory: Any, address: int) -> str:
    if not address:
        return ""
    found = b""
    while b"\0" not in found:
        memory.seek(address + len(found))
        room = 4096 - (address + len(found)) % 4096  # never over the end of a page
        found += memory.read(room)
    return os.fsdecode(found.split(b"\0", 1)[0])


def _words(memory: Any, address: int) -> tuple[str, ...]:
    words = []
    while True:
        memory.seek(address + 8 * len(words))
        (pointer,) = struct.unpack("=Q", memory.read(8))
        if not pointer:
            return tuple(words)
        words.append(_text(memory, pointer))


def _descriptor(pid: int, argument: int, name: str) -> str:
    number = ctypes.c_int(argument & 0xFFFFFFFF).value
    try:
        target = str(Path(f"/proc/{pid}/cwd" if number == AT_FDCWD else f"/proc/{pid}/fd/{number}").readlink())
    except OSError:
        return ""
    if not target.startswith("socket:[") or name not in SENDS:
        return target.removesuffix(" (deleted)")
    inode = target[8:-1]
    for kind in ("tcp", "udp"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] == inode:
                host, port = fields[2].split(":")
                address = socket.inet_ntoa(struct.pack("=I", int(host, 16)))
                return f"{kind.upper()}:->{address}:{int(port, 16)}"
    return target


def main() -> int:
    """Do what the module's docstring says, by sys.argv."""
    result = Killer(json.loads(Path(sys.argv[1]).read_text())).run(sys.argv[3:])
    Path(sys.argv[2]).write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
