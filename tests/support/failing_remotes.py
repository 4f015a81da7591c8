"""Remotes that fail on purpose: before an effect, or after it was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from b10_store.remote.protocol import Remote
    from tests.support.wrapped_remote import Call


class Refusing(WrappedRemote):
    """Fails before anything is done, a few times."""

    def __init__(self, inner: Remote, effect: str, times: int, error: OSError) -> None:
        """Fail with `error` at the first `times` calls of `effect`."""
        super().__init__(inner)
        self._effect = effect
        self._error = error
        self.left = times

    def before(self, call: Call) -> None:
        """See `WrappedRemote.before`."""
        if call.effect == self._effect:
            self._fail(call.name)

    def _fail(self, name: str) -> None:
        if self.left:
            self.left -= 1
            self._error.filename = name
            raise self._error


class LosingAnswers(Refusing):
    """Does what is asked and then fails, a few times: a server whose answer is lost."""

    def before(self, call: Call) -> None:
        """Nothing fails yet."""

    def after(self, call: Call) -> None:
        """See `WrappedRemote.after`."""
        if call.effect == self._effect:
            self._fail(call.name)
