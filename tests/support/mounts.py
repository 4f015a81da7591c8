"""Small, full, read-only and noexec filesystems, mounted for a test and gone after it."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@contextlib.contextmanager
def tmpfs(folder: Path, size: int, files: int = 0) -> Generator[Path]:
    """A filesystem of its own at `folder`.

    Args:
        folder: where; made when it is not there.
        size: bytes that fit.
        files: how many files and folders fit; 0: as many as the bytes allow.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size},mode=0777" + (f",nr_inodes={files + 1}" if files else "")
    _mount("-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _unmount(folder)


@contextlib.contextmanager
def read_only(folder: Path) -> Generator[None]:
    """`folder` as it is, but not to be written to, not by root either."""
    with _bound(folder, "ro"):
        yield


@contextlib.contextmanager
def no_execution(folder: Path) -> Generator[None]:
    """`folder` as it is, but what lies in it cannot be executed or mapped as code."""
    with _bound(folder, "noexec"):
        yield


@contextlib.contextmanager
def _bound(folder: Path, option: str) -> Generator[None]:
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", f"remount,bind,{option}", str(folder))
        yield
    finally:
        _unmount(folder)


@contextlib.contextmanager
def overlay(folder: Path) -> Generator[Path]:
    """An overlay of `folder/upper` over `folder/lower`, as a container sees its image."""
    parts = {name: folder / name for name in ("lower", "upper", "work", "merged")}
    with tmpfs(folder / "layers", 16 << 20) as layers:
        # An overlay cannot lie on another one, and a test may run in a container.
        for name in ("upper", "work"):
            parts[name] = layers / name
            parts[name].mkdir()
        parts["merged"].mkdir()
        options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
        _mount("-t", "overlay", "-o", options, "overlay", str(parts["merged"]))
        try:
            yield parts["merged"]
        finally:
            _unmount(parts["merged"])


def fill(folder: Path, leave: int) -> Path:
    """Write a file that leaves `leave` bytes of its filesystem free; others may write meanwhile."""
    ballast = folder / "ballast"
    with open(ballast, "wb") as file:
        while not _take_all_but(leave, file.fileno()):
            pass
    return ballast


def _take_all_but(leave: int, file: int) -> bool:
    """Returns False when somebody else took a part of the room between the look and the deed."""
    status = os.fstatvfs(file)
    size = status.f_bavail * status.f_frsize - leave
    try:
        if size > 0:
            os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def _mount(*arguments: str) -> None:
    if sys.platform != "linux":
        pytest.skip("mounting is done as on Linux")
    try:
        done = subprocess.run(
            ["mount", *arguments],  # noqa: S607  # where mount lies differs between systems
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        pytest.skip(f"mounting is not possible: {error}")
    if done.returncode:
        pytest.skip(f"mounting was refused: {done.stderr.strip()}")


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607  # as for mount
