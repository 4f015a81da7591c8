"""Ends a process before the n-th of its effects on files, as a crash would.

To be installed in a child process only: what it does to the process cannot be undone.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, NoReturn
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable

STOPPED = 77
"""Exit status of a process that was stopped."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_LONG_HEX = re.compile(r"[0-9a-f]{16,}")
_CHANGES = {
    "os.rename": (2, 3),
    "os.remove": (1,),
    "os.mkdir": (2,),
    "os.rmdir": (1,),
    "os.link": (2, 3),
    "os.symlink": (2,),
    "os.truncate": (),
    "os.utime": (3,),
    "os.chmod": (2,),
}
"""By event: which of its arguments are the folders that its names are relative to."""


class Effects:
    """Counts what this process does to files below a folder, and stops it in the middle.

    Names are seen by an audit hook, so that no way to open, rename or remove a file is missed;
    bytes by taking the place of os.write, os.fsync and os.close. A write counts twice: the process
    can be stopped before it and when half of it is done.
    """

    def __init__(self, inside: str, stop_before: int, trace: str) -> None:
        """Nothing is counted before `install`.

        Args:
            inside: the folder; what happens elsewhere does not count.
            stop_before: the number of the effect that does not happen any more, from 1.
            trace: a file outside of the folder, to which each effect is written before it happens.
        """
        self._inside = inside
        self._stop_before = stop_before
        self._count = 0
        self._lock = threading.Lock()
        self._opened_in = threading.local()
        self._handles: dict[int, str] = {}
        self._open = os.open
        self._write = os.write
        self._fsync = os.fsync
        self._close = os.close
        self._open_file: Callable[..., IO[Any]] = open
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def install(self) -> None:
        """Count from now on."""
        sys.dont_write_bytecode = True
        sys.addaudithook(self._on_event)
        mock.patch("os.open", self._opening).start()
        mock.patch("os.write", self._writing).start()
        mock.patch("os.fsync", self._syncing).start()
        mock.patch("os.close", self._closing).start()
        mock.patch("builtins.open", self._opening_file).start()

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            whole = self._whole(path, getattr(self._opened_in, "folder", None))
            # A descriptor was counted when os.open made it.
            if flags & _WRITING and not isinstance(path, int) and self._is_inside(whole):
                self._effect(f"open {self._shown(whole)}")
        elif event in _CHANGES:
            folders = [arguments[place] for place in _CHANGES[event]]
            paths = [self._whole(*item) for item in zip(arguments, folders or [None], strict=False)]
            if not self._is_inside(paths[0]):
                return
            names = [self._shown(path) for path in paths]
            self._effect(" -> ".join([f"{event.removeprefix('os.')} {names[0]}", *names[1:]]))

    def _opening(self, path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        # The audit event does not tell it.
        self._opened_in.folder = options.get("dir_fd")
        try:
            handle = self._open(path, flags, mode, **options)
        finally:
            self._opened_in.folder = None
        # A file object closes its descriptor without a word, and the number is used again.
        self._handles.pop(handle, None)
        whole = self._whole(path, options.get("dir_fd"))
        if flags & _WRITING and self._is_inside(whole):
            self._handles[handle] = self._shown(whole)
        return handle

    @staticmethod
    def _whole(path: Any, folder: int | None) -> Any:
        """The absolute path of a name in an open folder."""
        if isinstance(path, int) or folder is None or folder < 0:
            return path
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))

    def _opening_file(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        opened = self._open_file(file, mode, *arguments, **options)
        if not mode.startswith("r") and self._is_inside(file):
            # What is written to such a file from here on lies in a buffer of this process.
            self._effect(f"fill {self._handles.get(file) or self._shown(file)}")
        return opened

    def _writing(self, handle: int, data: Any) -> int:
        name = self._handles.get(handle)
        if name is not None:
            self._effect(f"write {name}")
            half = bytes(data)[: len(data) // 2]
            self._effect(f"write the rest of {name}", lambda: self._write(handle, half))
        return self._write(handle, data)

    def _syncing(self, handle: int) -> None:
        self._effect(f"fsync {self._handles.get(handle, 'a folder')}")
        self._fsync(handle)

    def _closing(self, handle: int) -> None:
        if handle in self._handles:
            self._effect(f"close {self._handles[handle]}")
            del self._handles[handle]
        self._close(handle)

    def _is_inside(self, path: Any) -> bool:
        if isinstance(path, int):
            return path in self._handles
        name = os.fsdecode(path)
        # Whoever removes a tree names its files relative to an open folder.
        return not os.path.isabs(name) or name.startswith(self._inside)

    def _shown(self, path: Any) -> str:
        if isinstance(path, int):
            return self._handles.get(path, "a file")
        name = os.fsdecode(path)
        return _LONG_HEX.sub("*", name.removeprefix(self._inside).lstrip("/"))

    def _effect(self, what: str, first: Callable[[], object] | None = None) -> None:
        with self._lock:
            self._count += 1
            self._write(self._trace, what.encode() + b"\n")
            if self._count == self._stop_before:
                if first is not None:
                    first()
                _stop()


def _stop() -> NoReturn:
    # No handler, no finally block, no buffer: nothing more happens in this process.
    os._exit(STOPPED)
