"""A store in which something happens in the middle of an operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store.remote.protocol import Remote
    from tests.support.wrapped_remote import Call


class Once(WrappedRemote):
    """Something happens before the first call of an effect at a file, once."""

    def __init__(self, inner: Remote, effect: str, part: str, happen: Callable[[], object]) -> None:
        """Let it happen before `effect` at the first file whose name has `part` in it."""
        super().__init__(inner)
        self._effect, self._part = effect, part
        self._happen: Callable[[], object] | None = happen

    @property
    def happened(self) -> bool:
        """Whether it did."""
        return self._happen is None

    def before(self, call: Call) -> None:
        """Let it happen."""
        happen = self._happen
        if call.effect == self._effect and self._part in call.name and happen is not None:
            self._happen = None
            happen()
