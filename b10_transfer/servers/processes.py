"""The process of an inference server: finding it, and knowing whether it still runs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from b10_transfer.servers.command_lines import server_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_SAME_START_SECONDS = 1.5
"""Two readings of when one process started differ by less: it is ticks of the kernel's clock since
boot, and the time of boot moves when the system's clock is set."""

_LONG_BEFORE_SECONDS = 60.0
_NEWER_FIRST_SECONDS = 15.0
"""A server that ran long before is taken only after this time: in a shell that has started another
one earlier, the one that is meant may not be there yet."""

_BEFORE_SECONDS = 10.0
"""A start so long after ours is as near as one just before."""

_YOUNG_SECONDS = 30.0
"""A process that is older has not been started to look for a server."""

_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of Linux (include/linux/proc_ns.h): every container has another."""

_GONE = (psutil.Error, OSError)


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """The process that an inference server was started as.

    Attributes:
        pid: its number, which another process may get when it has ended.
        started: seconds since the epoch, as psutil tells it.
        kind: "vllm" or "sglang".
        argv: its command line.
        folder: its working folder, or "" where that may not be read.
        variables: the environment variables that it was started with; None where they may not be
            read.
        sees_our_files: False when it has a root folder or mounts of its own, in a container.
        is_same_users: False when it runs as another user than this process.
    """

    pid: int
    started: float
    kind: str
    # Either may hold an API key.
    argv: tuple[str, ...] = field(repr=False)
    folder: str = ""
    variables: Mapping[str, str] | None = field(default=None, repr=False)
    sees_our_files: bool = True
    is_same_users: bool = True

    def __str__(self) -> str:
        """For a log."""
        return f"the {'vLLM' if self.kind == 'vllm' else 'SGLang'} server (pid {self.pid})"


class ServerSearch:
    """Looks for the server that this process was started beside."""

    def __init__(self, is_meant: Callable[[ServerProcess], bool] = lambda _: True) -> None:
        """Begin to look.

        Args:
            is_meant: whether a server that was found is acceptable.
        """
        self._is_meant = is_meant
        self._since = _own_start()
        self._waited_from = time.monotonic()

    def find(self) -> ServerProcess | None:
        """The server nearest to this process, or None.

        Near is, in this order: this process, those that started it, and what these started in
        turn; its session; its container. Of several, the one whose start is nearest to that of this
        process, or of the search where that is much older, and rather after it than before.
        """
        nearness = _Nearness()
        found: list[tuple[tuple[int, float], ServerProcess]] = []
        patient = time.monotonic() - self._waited_from < _NEWER_FIRST_SECONDS
        for process, kind in _uppermost(psutil.process_iter(["cmdline"])):
            rank = nearness.of(process)
            server = _describe(process, kind) if rank is not None else None
            if rank is None or server is None or not self._is_meant(server):
                continue
            late = server.started - self._since
            if not (patient and late < -_LONG_BEFORE_SECONDS):
                distance = late if late >= 0 else _BEFORE_SECONDS - late
                found.append(((rank, distance), server))
        return min(found, key=lambda item: item[0])[1] if found else None


def find_server_below(pid: int) -> ServerProcess | None:
    """The server among a process and its descendants that started the others, or None."""
    try:
        top = psutil.Process(pid)
        family = [top, *top.children(recursive=True)]
    except _GONE:
        return None
    for process, kind in _uppermost(iter(family)):
        server = _describe(process, kind)
        if server is not None:
            return server
    return None


def is_alive(server: ServerProcess) -> bool:
    """Whether the server still runs; another process under its number does not count."""
    try:
        process = psutil.Process(server.pid)
        if abs(process.create_time() - server.started) > _SAME_START_SECONDS:
            return False
        return process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False
    except _GONE:
        return True


def family_of(server: ServerProcess) -> Iterator[psutil.Process]:
    """The server's process and its descendants, as far as they can be seen."""
    try:
        process = psutil.Process(server.pid)
        yield process
        yield from process.children(recursive=True)
    except _GONE:
        return


def _uppermost(
    processes: Iterator[psutil.Process],
) -> Iterator[tuple[psutil.Process, str]]:
    """The servers among processes, less those that a server started: it is forked from itself."""
    found: dict[int, tuple[psutil.Process, str]] = {}
    for process in processes:
        try:
            kind = server_kind(process.cmdline())
        except _GONE:
            continue
        if kind:
            found[process.pid] = process, kind
    for process, kind in found.values():
        try:
            parents = {parent.pid for parent in process.parents()}
        except _GONE:
            continue
        if parents.isdisjoint(found):
            yield process, kind


def _describe(process: psutil.Process, kind: str) -> ServerProcess | None:
    try:
        with process.oneshot():
            argv, started = tuple(process.cmdline()), process.create_time()
            status = process.status()
    except _GONE:
        return None
    if status in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD} or server_kind(argv) != kind:
        return None
    return ServerProcess(
        process.pid,
        started,
        kind,
        argv,
        _folder(process),
        _variables(process),
        _namespace(process.pid, "mnt") in {"", _namespace(os.getpid(), "mnt")},
        _user(process) == _user(psutil.Process()),
    )


def _folder(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except _GONE:
        return ""


def _variables(process: psutil.Process) -> dict[str, str] | None:
    try:
        # Empty: it was written over by a process that gave itself a title.
        return process.environ() or None
    except _GONE:
        return None


def _own_start() -> float:
    """When this process was started to look for a server, on the clock of ServerProcess.started."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    # psutil counts from the time of boot, which it knows to the second only.
    now = time.time() if clock is None else psutil.boot_time() + time.clock_gettime(clock)
    started = psutil.Process().create_time()
    return started if now - started < _YOUNG_SECONDS else now


def _user(process: psutil.Process) -> int | str:
    try:
        # Windows has names only.
        return process.uids().effective if hasattr(process, "uids") else process.username()
    except _GONE:
        return ""


class _Nearness:
    """How near processes are to this one."""

    def __init__(self) -> None:
        own = psutil.Process()
        try:
            self._above = {parent.pid for parent in own.parents()}
            parent = own.ppid()
        except _GONE:
            self._above, parent = set[int](), 0
        self._pid_namespace = _namespace(own.pid, "pid")
        self._net_namespace = _namespace(own.pid, "net")
        self._in_container = self._pid_namespace not in {"", _INITIAL_PID_NAMESPACE}
        # Every process has the first one above it.
        self._around = {own.pid, parent} if parent > 1 or self._in_container else {own.pid}
        self._own = own.pid
        self._session = _session(own.pid)

    def of(self, process: psutil.Process) -> int | None:
        """A smaller number for a nearer one; None for one that has nothing to do with this one."""
        if process.pid == self._own or process.pid in self._above:
            return 0
        try:
            above = {parent.pid for parent in process.parents()}
        except _GONE:
            return None
        if not above.isdisjoint(self._around):
            return 0
        if self._session and _session(process.pid) == self._session:
            return 1
        is_neighbour = (
            self._in_container
            and _namespace(process.pid, "pid") in {"", self._pid_namespace}
            and _namespace(process.pid, "net") in {"", self._net_namespace}
        )
        return 2 if is_neighbour else None


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except (OSError, AttributeError):  # gone, another user's; Windows
        return 0


def _namespace(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{name}")
    except OSError:
        return ""
