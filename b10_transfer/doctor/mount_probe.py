"""Try what a mount can do, in a program of its own, since a call that hangs cannot be stopped.

    python -I -S mount_probe.py look FOLDER
    python -I -S mount_probe.py try FOLDER FILES FOLDERS NAME

`look` changes nothing. `try` creates files FOLDER/FILES/NAME-* and a folder FOLDER/FOLDERS/NAME-*,
and removes them. Each step prints two lines of JSON: `{"begin": step}`, then its result, so that
the caller knows which step did not answer. The program needs only the standard library, and is run
as a file, which takes a few hundredths of a second.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

STORE_FOLDERS = ("packs", "manifests", "sessions", "trash")
"""The folders of a store that a load and a save work in."""
ALL_FOLDERS = (*STORE_FOLDERS, "fenced", "quarantine")

_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.05
_PAST_SECONDS = 3600.0
_ATTEMPTS = 3
_FIRST, _SECOND = b"first", b"the second"

Facts = dict[str, Any]
Step = tuple[str, "Callable[[], Facts]"]


def look(folder: str) -> Iterator[Step]:
    """Yield the steps that change nothing."""

    def status() -> Facts:
        os.stat(folder)
        return {}

    def listing() -> Facts:
        with os.scandir(folder) as found:
            return {"names": sorted(item.name for item, _ in zip(found, range(1000), strict=False))}

    def access() -> Facts:
        paths = {"": folder} | {name: os.path.join(folder, name) for name in STORE_FOLDERS}
        return {
            name: [os.access(path, os.R_OK | os.X_OK), os.access(path, os.W_OK | os.X_OK)]
            for name, path in paths.items()
            if os.path.exists(path)
        }

    def links() -> Facts:
        paths = {name: os.path.join(folder, name) for name in ALL_FOLDERS}
        return {"links": [name for name, path in paths.items() if os.path.islink(path)]}

    yield "status", status
    yield "listing", listing
    yield "path", lambda: {"path": os.path.realpath(folder)}
    yield "space", lambda: space(folder)
    yield "access", access
    yield "links", links


def space(folder: str) -> Facts:
    """Return free and total space of a folder's filesystem, in bytes and in files."""
    if not hasattr(os, "statvfs"):
        return {}
    found = os.statvfs(folder)
    return {
        "free": found.f_bavail * found.f_frsize,
        "size": found.f_blocks * found.f_frsize,
        "free_files": found.f_favail if found.f_files else None,
    }


class Trial:
    """The steps that change something and undo it."""

    def __init__(self, files: str, folders: str, name: str) -> None:
        """Touch nothing yet; `files` and `folders` exist, and all new names begin with `name`."""
        self._parent = files
        self._name = name
        self._files = [os.path.join(files, f"{name}-{number}") for number in range(4)]
        self._folders = [os.path.join(folders, f"{name}-folder-{number}") for number in range(2)]
        self._handle = -1

    def steps(self) -> Iterator[Step]:
        """Return the steps, in the order in which they have to be taken."""
        for step in (
            *(self._create, self._fsync, self._exclusive, self._visible, self._touch),
            *(self._rename, self._descriptor, self._rename_folder, self._delete),
        ):
            yield step.__name__[1:], step

    def clean(self) -> None:
        """Remove everything that was created and is still there."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                os.close(self._handle)
        inner = [os.path.join(folder, f"{self._name}-in") for folder in self._folders]
        for path in (*self._files, *inner):
            with contextlib.suppress(OSError):
                os.unlink(path)
        for path in self._folders:
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def _create(self) -> Facts:
        self._handle = _open_new(self._files[0])
        # The written byte makes a network filesystem ask its server for the time.
        before = time.time()
        os.write(self._handle, _FIRST)
        _flush(self._handle)
        found = os.fstat(self._handle).st_mtime
        return {"mtime": found, "before": before, "after": time.time()}

    def _fsync(self) -> Facts:
        os.write(self._handle, _FIRST)
        os.fsync(self._handle)
        os.close(self._handle)
        self._handle = -1
        return {}

    def _exclusive(self) -> Facts:
        try:
            os.close(_open_new(self._files[0]))
        except FileExistsError:
            return {"holds": True}
        return {"holds": False}

    def _visible(self) -> Facts:
        path = self._files[0]
        return _wait_for(
            lambda: _read(path) == _FIRST * 2 and os.path.basename(path) in os.listdir(self._parent)
        )

    def _touch(self) -> Facts:
        path = self._files[0]
        first = os.stat(path).st_mtime
        with contextlib.suppress(OSError):
            os.utime(path, (first - _PAST_SECONDS, first - _PAST_SECONDS))
        past = os.stat(path).st_mtime

        def moves() -> bool:
            os.utime(path)
            return os.stat(path).st_mtime > past

        return _wait_for(moves)

    def _rename(self) -> Facts:
        """Rename over a file, and again, which must fail because the source is gone."""
        target, source, lost = self._files[:3]
        handle = _open_new(source)
        try:
            os.write(handle, _SECOND)
            _flush(handle)
        finally:
            os.close(handle)
        os.replace(source, target)
        seen = _wait_for(
            lambda: (
                _read(target) == _SECOND
                and not os.path.exists(source)
                and os.path.basename(source) not in os.listdir(self._parent)
            )
        )
        try:
            os.rename(source, lost)
        except FileNotFoundError:
            return seen
        return {**seen, "holds": False}

    def _descriptor(self) -> Facts:
        """Check that an open file stays the same file when it is renamed."""
        source, target = self._files[3], self._files[1]
        # It was just created: in place of an older one, whoever can write here could put a link.
        handle = _open_new(source)
        try:
            os.write(handle, _SECOND)
            _flush(handle)
            os.rename(source, target)
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, _FIRST)
            _flush(handle)
        finally:
            os.close(handle)
        seen = _wait_for(lambda: _read(target) == _FIRST and not os.path.exists(source))
        os.unlink(target)
        return seen

    def _rename_folder(self) -> Facts:
        source, target = self._folders
        inner = f"{self._name}-in"
        for attempt in range(_ATTEMPTS):
            try:
                os.mkdir(source, 0o700)
                os.close(_open_new(os.path.join(source, inner)))
                break
            except FileNotFoundError:
                # A running collection removes empty folders.
                if attempt == _ATTEMPTS - 1:
                    raise
        os.rename(source, target)
        moved = os.path.join(target, inner)
        return _wait_for(lambda: os.path.exists(moved) and not os.path.exists(source))

    def _delete(self) -> Facts:
        path = self._files[0]
        os.unlink(path)
        name = os.path.basename(path)
        return _wait_for(lambda: not os.path.exists(path) and name not in os.listdir(self._parent))


_TRIES = 2
_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN)
"""If one of these fails, all steps are taken again, and the second result counts."""


def take(steps: Iterator[Step]) -> Iterator[Facts]:
    """Take the steps; yield the name of each, then its facts or its error."""
    for name, step in steps:
        yield {"begin": name}
        done: Facts = {"step": name, "error": None, "errno": None, "facts": {}}
        try:
            done["facts"] = step()
        except OSError as error:
            done |= {"error": error.strerror or str(error), "errno": error.errno}
        yield done
        if done["error"] and name in {"status", "create"}:
            return


def run(arguments: list[str]) -> Generator[Facts, None, None]:
    """Carry out `look` or `try`; see the module."""
    for _ in range(_TRIES):
        failed_in_passing = False
        for line in _run_once(arguments):
            failed_in_passing |= line.get("errno") in _PASSING
            yield line
        if not failed_in_passing:
            return


def _run_once(arguments: list[str]) -> Generator[Facts, None, None]:
    if arguments[0] == "look":
        yield from take(look(arguments[1]))
        return
    folder, files, folders, name = arguments[1:]
    trial = Trial(os.path.join(folder, files), os.path.join(folder, folders), name)
    try:
        yield from take(trial.steps())
    finally:
        trial.clean()


def _open_new(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)


def _flush(handle: int) -> None:
    """Sync a file; a failure is ignored, since another step tests this."""
    with contextlib.suppress(OSError):
        os.fsync(handle)


def _read(path: str) -> bytes:
    """Read a file through a fresh open; b"" when there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _wait_for(condition: Callable[[], bool]) -> Facts:
    """Return whether something holds at once, or soon."""
    started = time.monotonic()
    while not (holds := condition()) and time.monotonic() - started < _PATIENCE_SECONDS:
        time.sleep(_PAUSE_SECONDS)
    return {"holds": holds}


def main() -> None:
    """Print each step as a line of JSON."""
    steps = run(sys.argv[1:])
    try:
        for line in steps:
            os.write(1, json.dumps(line).encode("ascii") + b"\n")
    except BrokenPipeError:
        # Nobody waits any more, but the files are still removed.
        pass
    finally:
        steps.close()


if __name__ == "__main__":
    main()
