"""A load up to its first change: what it would read, and where it would write."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from b10_store import Address, NoSpaceError, StoreError, merge
from b10_transfer.caches.native_needs import HostLibraries
from b10_transfer.caches.unusable_roots import find_obstacle
from b10_transfer.doctor.roots import is_wanted
from b10_transfer.local.targets import Chosen, choose_targets, not_here

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from b10_store import Heads, MergedView, PackId, RestoreTarget, Store
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.machine.environment import Environment
    from b10_transfer.settings import Settings


class Rehearsal(NamedTuple):
    """The findings of a rehearsed load.

    Attributes:
        heads: the manifests that it would read, verified.
        stored: the entries of all heads, merged.
        pack_faults: why the bytes of a pack cannot be read: an OSError, or a wrong length.
        chosen: the artifacts that this host can use.
        obstacles: why artifacts that are not here yet could not be placed, by cache root.
    """

    heads: Heads
    stored: MergedView
    pack_faults: Mapping[PackId, OSError | str]
    chosen: Chosen
    obstacles: dict[str, list[str]]

    def unreadable(self, packs: Iterable[PackId]) -> int:
        """Count the stored artifacts in some packs."""
        lost = frozenset(packs)
        return sum(entry.location.pack in lost for entry in self.stored.entries.values())


def rehearse(
    store: Store, settings: Settings, environment: Environment, roots: Iterable[CacheRoot]
) -> Rehearsal | StoreError | None:
    """Do everything that a load does before it writes, and look at the packs it would read.

    Args:
        store: the shared folder.
        settings: of this host.
        environment: of this host.
        roots: the cache roots that answer.

    Returns:
        The findings; the error when the scratch folder cannot be used; None when it is full, which
        the findings about space report.

    Raises:
        OSError: the manifests cannot be listed.
    """
    try:
        heads = store.heads(Address(environment.key, settings.namespace))
    except NoSpaceError:
        return None
    except StoreError as error:
        return error
    stored = merge(heads.manifests)
    by_name = {root.name: root for root in roots}
    chosen = choose_targets(
        by_name,
        environment,
        HostLibraries(settings.variables),
        stored.entries.values(),
    )
    lacking = not_here(chosen.targets)
    faults = store.pack_faults({pack: told.size for pack, told in stored.packs.items()})
    # Roots that this host is likely to use are examined whether or not anything is stored.
    others = {
        name: root
        for name, root in by_name.items()
        if not is_wanted(root, settings, is_gpu=environment.is_gpu)
    }
    return Rehearsal(heads, stored, faults, chosen, _obstacles(lacking, others))


def _obstacles(
    lacking: Iterable[RestoreTarget], absent: Mapping[str, CacheRoot]
) -> dict[str, list[str]]:
    known = {root.folder: str(find_obstacle(root) or "") for root in absent.values()}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for item in lacking:
        reason = _obstacle(os.path.dirname(item.location), item.folder, known)
        if reason:
            found[item.entry.identity.root].append(reason)
    return dict(found)


def _obstacle(folder: str, root: str, known: dict[str, str]) -> str:
    """Return why nothing can be put into a folder below a cache root; "" when it can.

    An existing root itself is examined elsewhere.
    """
    if folder not in known:
        if len(folder) <= len(root):
            return ""
        if not os.path.lexists(folder):
            known[folder] = _obstacle(os.path.dirname(folder), root, known)
        elif not os.path.isdir(folder):
            known[folder] = f"{folder} is not a folder"
        elif not os.access(folder, os.W_OK | os.X_OK):
            known[folder] = f"{folder} cannot be written by this user"
        else:
            known[folder] = ""
    return known[folder]
