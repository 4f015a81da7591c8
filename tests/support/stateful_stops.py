"""Operations that end before their n-th effect on a store, as when their process is killed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.support.scheduled_actors import Killed
from tests.support.wrapped_remote import Call, WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from b10_store.remote.protocol import Remote, Token


class Stopping(WrappedRemote):
    """Raises `Killed` in the place of an effect, and of all that come after it."""

    def __init__(self, inner: Remote, stop_before: int, *, torn: bool) -> None:
        """Let some effects happen.

        Args:
            inner: the store.
            stop_before: the number of the effect that does not happen, from 1.
            torn: if that is a write, half of it happens.
        """
        super().__init__(inner)
        self._left = stop_before - 1
        self._torn = torn
        self.is_over = False

    def before(self, call: Call) -> None:
        """See `WrappedRemote.before`."""
        del call
        self.spend(lambda: None)

    def create(self, folder: str, name: str | Callable[[], str], chunks: Iterable[bytes]) -> None:
        """See `Remote.create`."""
        self.spend(lambda: self.inner.create(folder, "new.tmp-0123456789abcdef", [b"half"]))
        self.inner.create(folder, name, chunks)

    def open_token(self, name: str) -> Token:
        """See `Remote.open_token`."""
        return _StoppingToken(self, super().open_token(name))

    def spend(self, tear: Callable[[], None]) -> None:
        """One effect is about to happen; `tear` does half of it."""
        if not self.is_over and self._left:
            self._left -= 1
            return
        if not self.is_over and self._torn:
            tear()
        self.is_over = True
        raise Killed


class _StoppingToken:
    def __init__(self, remote: Stopping, inner: Token) -> None:
        self._remote = remote
        self._inner = inner

    def write(self, chunks: Iterable[bytes]) -> None:
        data = b"".join(chunks)
        self._remote.spend(lambda: self._inner.write([data[: len(data) // 2]]))
        self._inner.write([data])

    def touch(self) -> None:
        self._remote.spend(lambda: None)
        self._inner.touch()

    def close(self) -> None:
        self._remote.spend(lambda: None)
        self._inner.close()


class Mount(WrappedRemote):
    """The store as hosts see it: some files cannot be read for a while.

    Tokens are kept, so that those of dead sessions can be closed in the end.
    """

    def __init__(self, inner: Remote) -> None:
        """None yet."""
        super().__init__(inner)
        self._opened: list[Token] = []
        self.hidden: set[str] = set()

    def before(self, call: Call) -> None:
        """Refuse to read what is hidden."""
        if call.name in self.hidden and call.effect in {"read", "stat"}:
            raise OSError(5, "Input/output error", call.name)

    def open_token(self, name: str) -> Token:
        """See `Remote.open_token`."""
        token = super().open_token(name)
        self._opened.append(token)
        return token

    def close(self) -> None:
        """Close them all."""
        for token in self._opened:
            with contextlib.suppress(OSError):
                token.close()
