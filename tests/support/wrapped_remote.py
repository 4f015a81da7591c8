"""A `Remote` that hands every call on: the base of those that count calls or let some fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from b10_store.remote.protocol import FileStat, Range, Remote, Token


class Call(NamedTuple):
    """One call of a remote: the method's name and the file's, "" where there is none."""

    effect: str
    name: str


class WrappedRemote:
    """Calls `before` and `after` around each effect; what they raise takes its place."""

    def __init__(self, inner: Remote) -> None:
        """Wrap a remote."""
        self.inner = inner

    def before(self, call: Call) -> None:
        """Called before anything is done."""

    def after(self, call: Call) -> None:
        """Called when all was done, but before the caller is told."""

    def list(self, folder: str) -> list[str]:
        """See `Remote.list`."""
        self.before(Call("list", folder))
        found = self.inner.list(folder)
        self.after(Call("list", folder))
        return found

    def stat(self, name: str) -> FileStat:
        """See `Remote.stat`."""
        self.before(Call("stat", name))
        found = self.inner.stat(name)
        self.after(Call("stat", name))
        return found

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        """See `Remote.read`; errors show at the first range, as with any remote."""
        self.before(Call("read", name))
        yield from self.inner.read(name, ranges)
        self.after(Call("read", name))

    def create(self, folder: str, name: str | Callable[[], str], chunks: Iterable[bytes]) -> None:
        """See `Remote.create`."""
        self.before(Call("create", folder))
        self.inner.create(folder, name, chunks)
        self.after(Call("create", folder))

    def open_token(self, name: str) -> Token:
        """See `Remote.open_token`."""
        self.before(Call("open_token", name))
        token = self.inner.open_token(name)
        self.after(Call("open_token", name))
        return token

    def rename(self, source: str, target: str) -> None:
        """See `Remote.rename`."""
        self.before(Call("rename", source))
        self.inner.rename(source, target)
        self.after(Call("rename", source))

    def touch(self, name: str) -> None:
        """See `Remote.touch`."""
        self.before(Call("touch", name))
        self.inner.touch(name)
        self.after(Call("touch", name))

    def delete(self, name: str) -> None:
        """See `Remote.delete`."""
        self.before(Call("delete", name))
        self.inner.delete(name)
        self.after(Call("delete", name))

    def remove_folder(self, name: str) -> None:
        """See `Remote.remove_folder`."""
        self.before(Call("remove_folder", name))
        self.inner.remove_folder(name)
        self.after(Call("remove_folder", name))

    def now(self) -> float:
        """See `Remote.now`."""
        self.before(Call("now", ""))
        now = self.inner.now()
        self.after(Call("now", ""))
        return now
