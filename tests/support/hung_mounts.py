"""A mount that hangs: a FUSE filesystem which answers that it is there, and nothing after."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

ANSWER_SECONDS = 3.0
"""So soon is an answer that hangs given up. All others take milliseconds, and must come in time."""

_DEVICE = "/dev/fuse"
_DETACH = 2
_REQUEST = struct.Struct("<IIQQIIII")
_ANSWER = struct.Struct("<IiQ")
# fuse_init_out of include/uapi/linux/fuse.h: 7.31, no flags.
_INIT = struct.pack("<IIIIHHII", 7, 31, 0, 0, 1, 1, 4096, 1).ljust(64, b"\0")


@contextlib.contextmanager
def hung(folder: Path) -> Generator[Path]:
    """Whatever looks into `folder` waits until the end."""
    if sys.platform != "linux" or os.geteuid() or not Path(_DEVICE).exists():
        pytest.skip("mounting needs Linux, root and /dev/fuse")
    folder.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={handle},rootmode=40000,user_id=0,group_id=0".encode()
    target = os.fsencode(folder)
    if libc.mount(b"hung", target, b"fuse", 0, options):
        os.close(handle)
        pytest.skip(f"mounting was refused: {os.strerror(ctypes.get_errno())}")
    try:
        threading.Thread(target=_answer_first, args=(handle,), daemon=True).start()
        yield folder
    finally:
        libc.umount2(target, _DETACH)
        # Whoever waits is told now that the connection is gone.
        os.close(handle)


def _answer_first(handle: int) -> None:
    request = os.read(handle, 1 << 17)
    unique = _REQUEST.unpack_from(request)[2]
    os.write(handle, _ANSWER.pack(_ANSWER.size + len(_INIT), 0, unique) + _INIT)
