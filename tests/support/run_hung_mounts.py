"""A mount that answers nothing: whoever touches it is held in the kernel, SIGKILL or not."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_INIT = 26  # linux/fuse.h: FUSE_INIT
_HEADER = struct.Struct("<IIQ")
_ANSWER = struct.Struct("<IiQIIIIHHIIHHI28x")
_MOST = 1 << 17
_ROOM = _MOST + 4096  # a request to write has headers too


@contextlib.contextmanager
def hung_mount(folder: Path) -> Generator[Path]:
    """Mount a filesystem at `folder` whose server takes every request, and answers none.

    At the end it is taken away, which lets go of whoever is held there.
    """
    if sys.platform != "linux":
        pytest.skip("FUSE is Linux'")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    done = subprocess.run(
        ["mount", "-i", "-t", "fuse", "-o", options, "hung", str(folder)],  # noqa: S607
        pass_fds=(device,),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        os.close(device)
        pytest.skip(f"mounting was refused: {done.stderr.strip()}")
    threading.Thread(target=_take_requests, args=(device,), daemon=True).start()
    try:
        yield folder
    finally:
        # The server is gone then, and every request fails.
        subprocess.run(["umount", "--force", "--lazy", str(folder)], check=True)  # noqa: S607
        os.close(device)


def _take_requests(device: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            request = os.read(device, _ROOM)
            _, operation, unique = _HEADER.unpack_from(request)
            if operation == _INIT:
                answer = _ANSWER.pack(
                    _ANSWER.size, 0, unique, 7, 31, _MOST, 0, 12, 10, _MOST, 1, 1, 0, 0
                )
                os.write(device, answer)
