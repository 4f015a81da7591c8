"""What a store must offer, as dictionaries, after whatever was done to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from b10_store.digest import digest_of
from tests.support.stateful_view import View

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from b10_store.digest import Digest
    from b10_store.format.names import Address
    from tests.support.stateful_view import Offered, Offers

_REPLACED_FREELY = 4
"""How often an artifact is certainly replaced without delay."""


class LostError(AssertionError):
    """A store does not offer what it must, or offers what it must not."""


@dataclass(frozen=True, slots=True)
class Local:
    """What a host has when it begins to save.

    Attributes:
        address: that it saves to.
        files: digest of each, by path.
        loaded: of each path, what it and the store last had in common.
        group: the folder whose files are variants of one thing.
    """

    address: Address
    files: Mapping[str, Digest]
    loaded: Mapping[str, Digest]
    group: str

    def members(self) -> set[str]:
        """The variants that are here."""
        return {path for path in self.files if path.startswith(f"{self.group}/")}


@dataclass
class Model:
    """What is known of a store.

    Attributes:
        ever: every digest that a host had at a path when it saved, by address.
        view: the store as it was after the last step.
        content: the bytes of each digest.
        replaced: how often an artifact may have been replaced.
        doubted: digests that were ever in a damaged pack.
        was_damaged: whether a file was ever damaged or lost behind the store's back.
    """

    view: View = field(default_factory=View)
    ever: defaultdict[Address, defaultdict[str, set[Digest]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    content: dict[Digest, bytes] = field(default_factory=dict["Digest", bytes])
    replaced: Counter[tuple[Address, str]] = field(default_factory=Counter["tuple[Address, str]"])
    doubted: set[Digest] = field(default_factory=set["Digest"])
    was_damaged: bool = False

    def begin_save(self, address: Address, tree: Mapping[str, bytes]) -> None:
        """A host may publish what it has from now on."""
        offers = self.offers(address)
        for path, data in tree.items():
            digest = digest_of(data)
            self.content[digest] = data
            self.ever[address][path].add(digest)
            offered = offers.get(path)
            if offered is None or offered.digest != digest or not offered.in_packs:
                self.replaced[address, path] += 1

    def offers(self, address: Address) -> Offers:
        """What an address offers."""
        return self.view.offers.get(address, {})

    # What may become of the view. Each takes the view after a step, and makes it the present one.

    def unchanged(self, after: View) -> None:
        """Nothing may have changed in what is offered."""
        for address in self.view.offers.keys() | after.offers.keys():
            self._same(address, after)
        self.seen(after)

    def saved(self, after: View, local: Local, *, alone: bool) -> None:
        """A host saved, and was told so, while nobody else did anything.

        Args:
            after: the view.
            local: what it has.
            alone: nobody else may publish between what it reads and what it writes.
        """
        before = self.offers(local.address)
        found = after.offers.get(local.address, {})
        for path, digest in local.files.items():
            if path in local.members():
                continue
            expected = self._expected(before.get(path), path, digest, local)
            if path not in found or found[path].digest not in expected:
                raise LostError(f"{path} was saved and is not offered as it must be")
        self._members_saved(before, found, local)
        self._kept(before, found, set(local.files))
        extra = found.keys() - before.keys() - local.files.keys()
        if extra and alone and not self.was_damaged:
            raise LostError(f"nobody saved {sorted(extra)}")
        self._others_same(local.address, after)

    def shed(self, after: View, local: Local, idle: Collection[str], oldest_ms: int) -> None:
        """A host saved that uses all it has but what is idle, while nobody else did anything.

        Args:
            after: the view.
            local: what it has.
            idle: the paths of what it has and does not use.
            oldest_ms: what was found in use since then may not expire.
        """
        before = self.offers(local.address)
        found = after.offers.get(local.address, {})
        for path in before.keys() - found.keys():
            if path in local.files and path not in idle:
                raise LostError(f"{path} is in use and expired")
            if before[path].used_ms >= oldest_ms:
                raise LostError(f"{path} expired too early")
        staying = {path: offered for path, offered in before.items() if path in found}
        self.view = replace(self.view, offers={**self.view.offers, local.address: staying})
        offered_files = {
            path: digest
            for path, digest in local.files.items()
            if path not in idle or path in found
        }
        self.saved(after, replace(local, files=offered_files), alone=True)

    def may_have_saved(self, after: View, local: Local, *, alone: bool) -> None:
        """A save was stopped somewhere, or goes on; it may have published.

        Args:
            after: the view.
            local: what the host has.
            alone: it is the only one that has published since it began.
        """
        before = self.offers(local.address)
        found = after.offers.get(local.address, {})
        for path, offered in before.items():
            if not offered.group and path not in found:
                raise LostError(f"{path} is not offered any more")
        if alone:
            self._kept(before, found, set(local.files))
        old, new = _members(before), _members(found)
        if not (old <= new or (new and old.isdisjoint(new))):
            raise LostError(f"variants were lost: {sorted(old - new)}")
        self._others_same(local.address, after)

    def acknowledged(self, after: View, local: Local) -> None:
        """A save that others overlapped was acknowledged: something is offered at every path."""
        found = after.offers.get(local.address, {})
        sure = {path for path, digest in local.files.items() if digest not in self.doubted}
        lacking = sure - local.members() - found.keys()
        if lacking or (sure & local.members() and not _members(found)):
            raise LostError(f"saved, and not offered: {sorted(lacking) or 'any variant'}")

    def gone(self, after: View, addresses: Collection[Address]) -> None:
        """Addresses were removed or have expired."""
        for address in addresses:
            if after.offers.get(address):
                raise LostError(f"{address} is still offered")
        for address in self.view.offers.keys() | after.offers.keys():
            if address not in addresses:
                self._same(address, after)
        self.seen(after)

    def grown(self, after: View, address: Address, back: Collection[str] = ()) -> None:
        """What was away came back, and took nothing away; at least the paths `back` of it."""
        before, found = self.offers(address), after.offers.get(address, {})
        lacking = {path for path in before if not before[path].group} - found.keys()
        lacking |= set(back) - found.keys()
        if lacking:
            raise LostError(f"not offered any more, or not again: {sorted(lacking)}")
        self._others_same(address, after)

    def seen(self, after: View) -> None:
        """Whatever happened, nothing is offered that nobody saved to that address and path."""
        for address, offers in after.offers.items():
            for path, offered in offers.items():
                if offered.digest not in self.ever[address][path]:
                    raise LostError(f"{address}: {path} is offered as nobody saved it")
        self.view = after
        self.doubted |= after.doubtful

    def _expected(
        self, offered: Offered | None, path: str, digest: Digest, local: Local
    ) -> set[Digest]:
        if offered is None or offered.digest == digest:
            return {digest}
        if not offered.in_packs:
            return {digest, offered.digest}
        if local.loaded.get(path) != offered.digest:
            return {offered.digest}
        if self.replaced[local.address, path] > _REPLACED_FREELY:
            return {digest, offered.digest}
        return {digest}

    def _members_saved(self, before: Offers, found: Offers, local: Local) -> None:
        here, old, new = local.members(), _members(before), _members(found)
        relied_on = {path for path in old if before[path].in_packs}
        if relied_on <= local.members() and not here <= new:
            raise LostError(f"variants were saved and are not offered: {sorted(here - new)}")
        if not old <= new <= old | local.members() | (new if self.was_damaged else set()):
            raise LostError(f"variants {sorted(old)} with {sorted(here)} became {sorted(new)}")

    def _same(self, address: Address, after: View) -> None:
        before, found = self.offers(address), after.offers.get(address, {})
        self._kept(before, found, set())
        lost = _members(before) - _members(found)
        if lost:
            raise LostError(f"{address}: variants were lost: {sorted(lost)}")
        extra = found.keys() - before.keys()
        if extra and not self.was_damaged:
            raise LostError(f"{address}: nobody saved {sorted(extra)}")

    def _others_same(self, address: Address, after: View) -> None:
        for other in self.view.offers.keys() | after.offers.keys():
            if other != address:
                self._same(other, after)
        self.seen(after)

    def _kept(self, before: Offers, found: Offers, but: set[str]) -> None:
        for path, offered in before.items():
            if offered.group or path in but:
                continue
            if path not in found:
                raise LostError(f"{path} is not offered any more")
            if found[path].digest != offered.digest:
                raise LostError(f"{path} is offered with other bytes")


def _members(offers: Offers) -> set[str]:
    return {path for path, offered in offers.items() if offered.group}
