"""A `Remote` whose effects go wrong."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from tests.support.faults import Fault, Manner, refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from b10_store.remote.protocol import FileStat, Range, Remote, Token
    from tests.support.faults import Faults

_LOOKING = frozenset({"list", "stat", "read"})
_TOKEN = frozenset({"token write", "token close"})
_BY_NAME = frozenset({"rename", "touch", "delete"})
REMOVING = frozenset({"remove_folder"})
"""What saves and loads never do."""
_CHANGING = frozenset({"create", "open_token", "now"}) | _BY_NAME | _TOKEN | REMOVING

PASSING = refusals(_LOOKING | _CHANGING, errno.EIO)
"""What stands for every error that the engine does not tell from others."""
REFUSALS = [
    *refusals(_LOOKING | _CHANGING, errno.EACCES, errno.ESTALE, errno.EINTR, errno.ETIMEDOUT),
    *refusals(_CHANGING, errno.EROFS),
]
"""Other errors that any effect may have."""
ODDITIES = [
    *refusals(_CHANGING, errno.ENOSPC),
    Fault("stale negative lookup", Manner.REFUSED, _BY_NAME | {"stat", "read"}, errno.ENOENT),
    Fault("done but EIO", Manner.DONE, _CHANGING | {"read"}, errno.EIO),
    Fault("done but ENOENT", Manner.DONE, frozenset({"rename", "delete"}), errno.ENOENT),
    Fault("done but EEXIST", Manner.DONE, frozenset({"open_token"}), errno.EEXIST),
    Fault("done but EIO, and not seen", Manner.UNSEEN, frozenset({"rename"}), errno.EIO),
    Fault("short write", Manner.SHORT, frozenset({"create", "token write"}), errno.ENOSPC),
    Fault("short read", Manner.SHORT, frozenset({"read"})),
    Fault("bytes lost on close", Manner.SHORT, frozenset({"token close"}), errno.EIO),
    Fault("stale listing", Manner.STALE, frozenset({"list"})),
    Fault("listing without the newest", Manner.LACKING, frozenset({"list"})),
]
"""What is special to some effects."""


class FaultyRemote:
    """Hands every call on, but those that `Faults` says."""

    def __init__(self, inner: Remote, faults: Faults) -> None:
        """Wrap a remote."""
        self._inner = inner
        self._faults = faults
        self._seen: dict[str, list[str]] = {}
        self._unseen: set[str] = set()

    def list(self, folder: str) -> list[str]:
        """See `Remote.list`."""
        with self._effect("list", f"{folder}/") as fault:
            if fault is not None and fault.manner is Manner.STALE:
                return self._seen.get(folder, [])
            names = self._inner.list(folder)
            if fault is not None and fault.manner is Manner.LACKING and names:
                names.remove(max(names, key=lambda name: self._age(folder, name)))
            self._seen[folder] = names
            return names

    def stat(self, name: str) -> FileStat:
        """See `Remote.stat`."""
        with self._effect("stat", name):
            if name in self._unseen:
                raise FileNotFoundError(errno.ENOENT, "not seen yet", name)
            return self._inner.stat(name)

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        """See `Remote.read`."""
        with self._effect("read", name) as fault:
            for place, data in enumerate(self._inner.read(name, ranges)):
                if place == len(ranges) - 1 and fault is not None and fault.manner is Manner.DONE:
                    break
                yield data[: len(data) // 2] if _is_short(fault) else data

    def create(self, folder: str, name: str | Callable[[], str], chunks: Iterable[bytes]) -> None:
        """See `Remote.create`."""
        with self._effect("create", f"{folder}/" if folder else "") as fault:
            cut = chunks if not _is_short(fault) else _cut(fault, chunks)
            self._inner.create(folder, name, cut)

    def open_token(self, name: str) -> Token:
        """See `Remote.open_token`."""
        opened: Token | None = None
        try:
            with self._effect("open_token", name):
                opened = self._inner.open_token(name)
        except OSError:
            if opened is not None:
                opened.close()
            raise
        return FaultyToken(opened, name, self._effect)

    def rename(self, source: str, target: str) -> None:
        """See `Remote.rename`."""
        with self._effect("rename", source) as fault:
            self._inner.rename(source, target)
            if fault is not None and fault.manner is Manner.UNSEEN:
                self._unseen.add(target)

    def touch(self, name: str) -> None:
        """See `Remote.touch`."""
        with self._effect("touch", name):
            self._inner.touch(name)

    def delete(self, name: str) -> None:
        """See `Remote.delete`."""
        with self._effect("delete", name):
            self._inner.delete(name)

    def remove_folder(self, name: str) -> None:
        """See `Remote.remove_folder`."""
        with self._effect("remove_folder", name):
            self._inner.remove_folder(name)

    def now(self) -> float:
        """See `Remote.now`."""
        with self._effect("now", ""):
            return self._inner.now()

    @contextlib.contextmanager
    def _effect(self, kind: str, name: str) -> Generator[Fault | None]:
        fault = self._faults.meet(kind, name)
        if fault is not None and fault.manner is Manner.REFUSED:
            raise fault.as_error(name)
        yield fault
        if fault is not None and fault.manner in (Manner.DONE, Manner.UNSEEN):
            raise fault.as_error(name)

    def _age(self, folder: str, name: str) -> tuple[float, str]:
        is_folder = name.endswith("/")
        return 0.0 if is_folder else self._inner.stat(f"{folder}/{name}").mtime, name


class FaultyToken:
    """A token of a `FaultyRemote`."""

    def __init__(
        self,
        inner: Token,
        name: str,
        effect: Callable[[str, str], contextlib.AbstractContextManager[Fault | None]],
    ) -> None:
        """Wrap a token."""
        self._inner = inner
        self._name = name
        self._effect = effect
        self._written: list[bytes] = []

    def write(self, chunks: Iterable[bytes]) -> None:
        """See `Token.write`."""
        self._written = list(chunks)
        with self._effect("token write", self._name) as fault:
            self._inner.write(_cut(fault, self._written) if _is_short(fault) else self._written)

    def touch(self) -> None:
        """See `Token.touch`."""
        with self._effect("token touch", self._name):
            self._inner.touch()

    def close(self) -> None:
        """See `Token.close`. The file is closed whatever it raises."""
        try:
            with self._effect("token close", self._name) as fault:
                if fault is not None and _is_short(fault):
                    data = b"".join(self._written)
                    self._inner.write([data[: len(data) // 2]])
                    raise fault.as_error(self._name)
        finally:
            self._inner.close()


def _is_short(fault: Fault | None) -> bool:
    return fault is not None and fault.manner is Manner.SHORT


def _cut(fault: Fault | None, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The first half of the first chunk, and then no room for more."""
    for chunk in chunks:
        yield chunk[: len(chunk) // 2]
        break
    if fault is not None:
        raise fault.as_error("")
