"""A load up to where it would change something: what it would read, and where it would write."""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from b10_store.errors import NoSpaceError, StoreError
from b10_store.format.names import Address, pack_path, parse_pack_name
from b10_store.manifests.merge import union
from b10_store.manifests.reader import ManifestReader
from b10_store.remote.folder import FolderRemote
from b10_store.remote.folder_names import TRASH
from b10_store.remote.protocol import Range
from b10_transfer.caches.native_needs import HostLibraries
from b10_transfer.caches.unusable_roots import find_obstacle
from b10_transfer.doctor.roots import is_wanted
from b10_transfer.local.targets import Chosen, choose_placements, not_here

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from b10_store.format.manifest import Pack
    from b10_store.format.names import PackId
    from b10_store.manifests.merge import Union
    from b10_store.manifests.reader import Heads
    from b10_store.remote.protocol import Remote
    from b10_store.tree.placement import Placement
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.machine.environment import Environment
    from b10_transfer.settings import Settings

_PARALLEL = 16
_LENGTH = "it has another length than its manifest says"


class Rehearsal(NamedTuple):
    """What a load would find.

    Attributes:
        heads: the manifests that it would read, verified.
        stored: all of them united.
        pack_faults: why the bytes of a pack cannot be read: an OSError, or its length.
        chosen: what belongs on this host.
        obstacles: why artifacts that are not here yet could not be placed, by cache root.
    """

    heads: Heads
    stored: Union
    pack_faults: dict[PackId, OSError | str]
    chosen: Chosen
    obstacles: dict[str, list[str]]

    def unreadable(self, packs: Iterable[PackId]) -> int:
        """Count the stored artifacts in some packs."""
        lost = frozenset(packs)
        return sum(entry.location.pack in lost for entry in self.stored.entries.values())


def rehearse(
    settings: Settings, environment: Environment, roots: Iterable[CacheRoot]
) -> Rehearsal | StoreError | None:
    """Do all that a load does before it writes, and look at the packs it would read.

    Args:
        settings: of this host.
        environment: likewise.
        roots: the cache roots that answer.

    Returns:
        The error where the folder for scratch cannot be used; None when there is no room in it:
        what is said of the space says so.

    Raises:
        OSError: the manifests cannot be listed.
    """
    address = Address(environment.key, settings.namespace)
    remote = FolderRemote(settings.store)
    try:
        heads = ManifestReader(remote, settings.scratch, settings.signing_keys).heads(address)
    except NoSpaceError:
        return None
    except StoreError as error:
        return error
    stored = union(heads.manifests)
    by_name = {root.name: root for root in roots}
    chosen = choose_placements(
        by_name,
        environment,
        HostLibraries(settings.variables),
        stored.entries.values(),
    )
    lacking = not_here(chosen.placements)
    faults = _pack_faults(remote, stored.packs)
    # Those that this host is likely to use are looked at whether or not anything is stored.
    others = {
        name: root
        for name, root in by_name.items()
        if not is_wanted(root, settings, is_gpu=environment.is_gpu)
    }
    return Rehearsal(heads, stored, faults, chosen, _obstacles(lacking, others))


def _pack_faults(remote: Remote, packs: Mapping[PackId, Pack]) -> dict[PackId, OSError | str]:
    if not packs:
        return {}
    with ThreadPoolExecutor(min(_PARALLEL, len(packs)), "b10-packs") as pool:
        faults = pool.map(partial(_pack_fault, remote), packs, packs.values())
        found = {pack: fault for pack, fault in zip(packs, faults, strict=True) if fault}
    if any(isinstance(fault, FileNotFoundError) for fault in found.values()):
        for pack in _packs_in_trash(remote) & found.keys():
            del found[pack]
    return found


def _packs_in_trash(remote: Remote) -> set[PackId]:
    """The packs that gc moved there: a load reads them there, too."""
    folders = [name[:-1] for name in remote.list(TRASH) if name.endswith("/")]
    names = [name for folder in folders for name in remote.list(f"{TRASH}/{folder}")]
    return {pack for name in names if (pack := parse_pack_name(name)) is not None}


def _pack_fault(remote: Remote, pack: PackId, told: Pack) -> OSError | str | None:
    """Why a load could not read a pack, if so, as two looks through fresh opens agree."""
    fault: OSError | str | None = None
    for _ in range(2):
        try:
            size = remote.stat(pack_path(pack)).size
            next(remote.read(pack_path(pack), [Range(0, 1)]))
        except OSError as error:
            fault = error
        else:
            if size == told.size:
                return None
            fault = _LENGTH
    return fault


def _obstacles(
    lacking: Iterable[Placement], absent: Mapping[str, CacheRoot]
) -> dict[str, list[str]]:
    known = {root.folder: str(find_obstacle(root) or "") for root in absent.values()}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for item in lacking:
        reason = _obstacle(os.path.dirname(item.location), item.folder, known)
        if reason:
            found[item.entry.identity.root].append(reason)
    return dict(found)


def _obstacle(folder: str, root: str, known: dict[str, str]) -> str:
    """Why nothing could be put into a folder below a cache root; "" where it could.

    A root that exists is itself looked at elsewhere.
    """
    if folder not in known:
        if len(folder) <= len(root):
            return ""
        if not os.path.lexists(folder):
            known[folder] = _obstacle(os.path.dirname(folder), root, known)
        elif not os.path.isdir(folder):
            known[folder] = f"{folder} is no folder"
        elif not os.access(folder, os.W_OK | os.X_OK):
            known[folder] = f"{folder} cannot be written by this user"
        else:
            known[folder] = ""
    return known[folder]
