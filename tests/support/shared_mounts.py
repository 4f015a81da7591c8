"""A network filesystem with two clients, started for a test and gone after it: MooseFS.

Its servers and its clients run in a network namespace of their own: MooseFS refuses loopback
addresses, and no port of this machine is taken. The clients' mounts are seen everywhere.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

_PROGRAMS = ("mfsmaster", "mfschunkserver", "mfsmount")
_TOOLS = ("unshare", "nsenter", "ip", "setpriv", "umount")
_ADDRESS = "10.77.0.1"
_SECONDS = 300.0

_MASTER = """\
WORKING_USER = root
WORKING_GROUP = root
DATA_PATH = {folder}/master
EXPORTS_FILENAME = {folder}/exports.cfg
TOPOLOGY_FILENAME = {folder}/topology.cfg
NICE_LEVEL = 0
DISABLE_OOM_KILLER = 0
"""

_CHUNKS = """\
WORKING_USER = root
WORKING_GROUP = root
DATA_PATH = {folder}/chunks
HDD_CONF_FILENAME = {folder}/disks.cfg
HDD_LEAVE_SPACE_DEFAULT = 16MiB
MASTER_HOST = {address}
MASTER_RECONNECTION_DELAY = 1
NICE_LEVEL = 0
DISABLE_OOM_KILLER = 0
"""

_CACHING = "mfsattrcacheto=1,mfsentrycacheto=0.3,mfsdirentrycacheto=1,mfsnegentrycacheto=0.3"
"""Seconds for which a client's answers may be stale: more than it does by default."""

_EMPTY_METADATA = b"MFSM NEW"
"""What a master begins with, as the package's metadata.mfs.empty has it."""


@contextlib.contextmanager
def moosefs(folder: Path, clients: int = 2) -> Generator[list[Path]]:
    """A MooseFS with as many clients: the folders at which each of them is mounted.

    The clients cache what they look up. Skips the test where MooseFS cannot be had.
    """
    _skip_without_programs()
    _write_settings(folder)
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(_network())
        start = _Starter(folder, namespace, stack)
        start("master", ["mfsmaster", "-f", "-c", f"{folder}/master.cfg", "start"])
        log = folder / "chunks.log"
        start("chunks", ["mfschunkserver", "-f", "-c", f"{folder}/chunks.cfg", "start"])
        _wait_for(lambda: "connected to Master" in log.read_text(errors="replace"), log)
        mounts = [folder / f"client-{number}" for number in range(clients)]
        for mount in mounts:
            mount.mkdir()
            options = f"mfsnice=0,{_CACHING}"
            start(mount.name, ["mfsmount", "-f", str(mount), "-H", _ADDRESS, "-o", options])
            stack.callback(_unmount, mount)
            _wait_for(functools.partial(os.path.ismount, mount), folder / f"{mount.name}.log")
        _wait_for(lambda: _takes_data(mounts[0]), folder / f"{mounts[0].name}.log")
        yield mounts


class _Starter:
    def __init__(self, folder: Path, namespace: int, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._namespace = namespace
        self._stack = stack

    def __call__(self, name: str, command: Sequence[str]) -> None:
        """Start a program in the namespace; it ends with the test, or with this process."""
        prefix = ["setpriv", "--pdeathsig", "KILL", *_entered(self._namespace)]
        with open(self._folder / f"{name}.log", "wb") as log:
            program = subprocess.Popen([*prefix, *command], stdout=log, stderr=log)
        self._stack.callback(_end, program)


def _skip_without_programs() -> None:
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("mounting needs Linux and root")
    lacking = [name for name in (*_PROGRAMS, *_TOOLS) if shutil.which(name) is None]
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}")
    if not Path("/dev/fuse").exists():
        pytest.skip("there is no /dev/fuse")


def _write_settings(folder: Path) -> None:
    for name in ("master", "chunks", "data"):
        (folder / name).mkdir(parents=True)
    (folder / "master" / "metadata.mfs").write_bytes(_EMPTY_METADATA)
    (folder / "master.cfg").write_text(_MASTER.format(folder=folder))
    (folder / "chunks.cfg").write_text(_CHUNKS.format(folder=folder, address=_ADDRESS))
    (folder / "exports.cfg").write_text("* / rw,alldirs,admin,maproot=0:0\n")
    (folder / "topology.cfg").write_text("")
    (folder / "disks.cfg").write_text(f"{folder}/data\n")


@contextlib.contextmanager
def _network() -> Generator[int]:
    """A network namespace with one address; the id of the process that keeps it."""
    keep = ["unshare", "--net", "sh", "-c", "echo ready; exec cat"]
    with subprocess.Popen(keep, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        try:
            if keeper.stdout.readline() != b"ready\n":
                pytest.skip("a network namespace of its own was refused")
            for command in (f"addr add {_ADDRESS}/24 dev lo", "link set lo up"):
                subprocess.run([*_entered(keeper.pid), "ip", *command.split()], check=True)
            yield keeper.pid
        finally:
            keeper.stdin.close()


def _entered(namespace: int) -> list[str]:
    return ["nsenter", "--target", str(namespace), "--net"]


def _takes_data(mount: Path) -> bool:
    """Whether there is a chunk server with room: until then a write fails after a long time."""
    status = os.statvfs(mount)
    return status.f_bavail > 0


def _wait_for(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.1)


def _unmount(mount: Path) -> None:
    subprocess.run(["umount", "--lazy", str(mount)], check=False)  # noqa: S607  # see mounts.py


def _end(program: subprocess.Popen[bytes]) -> None:
    program.terminate()
    try:
        program.wait(300)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()
