"""A `Remote` that notes every call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from b10_store.remote import Remote

_LOOKING = frozenset({"list", "stat", "read"})


class CountingRemote(WrappedRemote):
    """Counts calls; one read is one call, however many ranges of the file it asks for."""

    def __init__(self, inner: Remote) -> None:
        """Start with no calls."""
        super().__init__(inner)
        self.calls: list[tuple[str, str]] = []

    def before(self, effect: str, name: str) -> None:
        """See `WrappedRemote.before`."""
        self.calls.append((effect, name))

    @property
    def changes(self) -> list[tuple[str, str]]:
        """The calls that change something in the store."""
        return [call for call in self.calls if call[0] not in _LOOKING]

    def names(self, effect: str) -> list[str]:
        """What was read, listed, ..., in order."""
        return [name for called, name in self.calls if called == effect]
