"""A `Remote` that notes every call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.wrapped_remote import Call, WrappedRemote

if TYPE_CHECKING:
    from b10_store.remote.protocol import Remote

_LOOKING = frozenset({"list", "stat", "read"})


class CountingRemote(WrappedRemote):
    """Counts calls; one read is one call, however many ranges of the file it asks for."""

    def __init__(self, inner: Remote) -> None:
        """Start with no calls."""
        super().__init__(inner)
        self.calls: list[Call] = []

    def before(self, call: Call) -> None:
        """See `WrappedRemote.before`."""
        self.calls.append(call)

    @property
    def changes(self) -> list[Call]:
        """The calls that change something in the store."""
        return [call for call in self.calls if call.effect not in _LOOKING]

    def names(self, effect: str) -> list[str]:
        """What was read, listed, ..., in order."""
        return [call.name for call in self.calls if call.effect == effect]
