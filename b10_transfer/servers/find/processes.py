"""Find the process of an inference server, and tell whether it still runs.

A process describes itself by its command line, its environment variables and the files that these
name. They decide what is read with our rights, and where it is published. So only processes of our
own user are believed, and those of a user that the operator named.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from b10_transfer.servers.find.command_lines import server_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_SAME_START_SECONDS = 1.5
"""Two readings of one process' start differ by less than this. The kernel counts from boot, and the
time of boot moves when the system's clock is set."""

_LONG_BEFORE_SECONDS = 60.0
_NEWER_FIRST_SECONDS = 15.0
"""A server that started long before is accepted only after this time: the same shell may have
started it earlier, and the server that is meant may not be there yet."""

_BEFORE_SECONDS = 10.0
"""A start this long after ours counts as near as a start just before ours."""

_YOUNG_SECONDS = 30.0
"""A process that is older than this was not started to look for a server."""

_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of Linux (include/linux/proc_ns.h); every container has another number."""

_GONE = (psutil.Error, OSError)

User = int | str
"""The id of a user; on Windows a name."""

_logger = logging.getLogger("b10_transfer")


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """The process of an inference server.

    Attributes:
        pid: its process id, which another process may get after its end.
        started: when it started, in seconds since the epoch, as psutil tells it.
        kind: "vllm" or "sglang".
        argv: its command line.
        folder: its working folder; "" when this process may not read it.
        variables: the environment variables that it was started with; None when this process may
            not read them.
        sees_our_files: False when it has its own root folder or mounts, in another container.
        is_same_users: False when it runs as another user, which the operator named.
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
        """Name it for a log."""
        return f"the {'vLLM' if self.kind == 'vllm' else 'SGLang'} server (pid {self.pid})"


class ServerSearch:
    """Looks for the server that this process was started beside."""

    def __init__(
        self,
        is_meant: Callable[[ServerProcess], bool] = lambda _: True,
        user: User | None = None,
    ) -> None:
        """Begin to look.

        Args:
            is_meant: returns whether a server that was found is the right one.
            user: whose processes count beside our own.
        """
        self._is_meant = is_meant
        self._user = user
        self._has_warned = False
        self._since = _own_start()
        self._waited_from = time.monotonic()

    def find(self) -> ServerProcess | None:
        """Return the server nearest to this process, or None.

        Nearest are this process, its ancestors and their descendants; then its session; then its
        container. Among several the start decides: the nearest to the start of this process (or of
        the search, when this process is much older) wins, and a later start counts as nearer.
        """
        try:
            nearness = _Nearness()
        except _GONE:
            # A system without /proc.
            return None
        found: list[tuple[tuple[int, float], ServerProcess]] = []
        patient = time.monotonic() - self._waited_from < _NEWER_FIRST_SECONDS
        for process, kind in _uppermost(psutil.process_iter(["cmdline"])):
            rank = nearness.of(process)
            server = self._describe(process, kind) if rank is not None else None
            if rank is None or server is None or not self._is_meant(server):
                continue
            late = server.started - self._since
            if not (patient and late < -_LONG_BEFORE_SECONDS):
                distance = late if late >= 0 else _BEFORE_SECONDS - late
                found.append(((rank, distance), server))
        return min(found, key=lambda item: item[0])[1] if found else None

    def _describe(self, process: psutil.Process, kind: str) -> ServerProcess | None:
        if is_believed(process, self._user):
            return _describe(process, kind, self._user)
        if not self._has_warned:
            self._has_warned = True
            warn_of_strange(process)
        return None


def find_server_below(
    pid: int,
    user: User | None = None,
    on_strange: Callable[[psutil.Process], object] = lambda _: None,
) -> ServerProcess | None:
    """Return the first server among a process and its descendants, or None.

    Args:
        pid: the process.
        user: whose processes count beside our own.
        on_strange: called with a process that looks like a server but belongs to another user.
    """
    for process, kind in _uppermost(iter(family_below(pid))):
        server = _describe(process, kind, user)
        if server is not None:
            return server
        if process.is_running() and not is_believed(process, user):
            on_strange(process)
    return None


def family_below(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants, as far as they can be seen."""
    family: list[psutil.Process] = []
    with contextlib.suppress(*_GONE):
        family.append(psutil.Process(pid))
        family += family[0].children(recursive=True)
    return family


def is_alive(server: ServerProcess) -> bool:
    """Return whether the server still runs; another process with its id does not count."""
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
    """Yield the server's process and its descendants, as far as they can be seen."""
    yield from family_below(server.pid)


def _uppermost(
    processes: Iterator[psutil.Process],
) -> Iterator[tuple[psutil.Process, str]]:
    """Yield the servers among processes, except those that another one of them started."""
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


def is_believed(process: psutil.Process, user: User | None) -> bool:
    """Return whether a process belongs to our user or to `user`.

    All of its ids count. A set-user-id program is not believed: it may have taken our id, and still
    has the arguments, variables and open files of whoever started it.
    """
    users = _users(process)
    if not users or not users <= {*_own_users(), *(() if user is None else (user,))}:
        return False
    try:
        program = os.stat(f"/proc/{process.pid}/exe")
    except OSError:
        return True  # there is no procfs, or the program's file cannot be named
    return not program.st_mode & (stat.S_ISUID | stat.S_ISGID)


def _own_users() -> set[User]:
    try:
        return _users(psutil.Process())
    except _GONE:
        return set()


def warn_of_strange(process: psutil.Process) -> None:
    """Warn that a server of another user is not followed, and say what would change that."""
    users = ", ".join(sorted(map(str, _users(process)))) or "unknown"
    _logger.warning(
        "a server of another user is ignored (pid %d, uid %s): to follow it, run as that user or "
        "name the user with --server-user",
        process.pid,
        users,
    )


def _describe(process: psutil.Process, kind: str, user: User | None) -> ServerProcess | None:
    if not is_believed(process, user):
        return None
    try:
        with process.oneshot():
            argv, started = tuple(process.cmdline()), process.create_time()
            status = process.status()
    except _GONE:
        return None
    if status in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD} or server_kind(argv) != kind:
        return None
    found = ServerProcess(
        process.pid,
        started,
        kind,
        argv,
        working_folder(process),
        variables_of(process),
        _namespace(process.pid, "mnt") in {"", _namespace(os.getpid(), "mnt")},
        is_believed(process, None),
    )
    # By now another process may have its id, or it may have become another user's.
    return found if process.is_running() and is_believed(process, user) else None


def working_folder(process: psutil.Process) -> str:
    """Return the working folder of a process; "" when this process may not read it."""
    try:
        return process.cwd()
    except _GONE:
        return ""


def variables_of(process: psutil.Process) -> dict[str, str] | None:
    """Return the environment variables that a process was started with; None if unreadable."""
    try:
        # Empty: the process overwrote it when it gave itself a title.
        return process.environ() or None
    except _GONE:
        return None


def _own_start() -> float:
    """Return when the search began, on the clock of ServerProcess.started."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    try:
        # psutil counts from the time of boot, which it knows only to the second.
        now = time.time() if clock is None else psutil.boot_time() + time.clock_gettime(clock)
        started = psutil.Process().create_time()
    except (*_GONE, RuntimeError):
        _logger.warning(
            "processes cannot be seen on this system (is /proc mounted?), so no server is found: "
            "name its address with --url"
        )
        return time.time()
    return started if now - started < _YOUNG_SECONDS else now


def _users(process: psutil.Process) -> set[User]:
    """Return the ids that a process runs under; empty when they cannot be told."""
    try:
        return set(process.uids()) if hasattr(process, "uids") else {process.username()}
    except _GONE:
        return set()


class _Nearness:
    """The distance of other processes from this one."""

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
        # Process 1 is an ancestor of every process.
        self._around = {own.pid, parent} if parent > 1 or self._in_container else {own.pid}
        self._own = own.pid
        self._session = _session(own.pid)

    def of(self, process: psutil.Process) -> int | None:
        """Return a smaller number for a nearer process; None for one that is unrelated."""
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
