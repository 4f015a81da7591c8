"""The last save of this host that left nothing to do, which makes the next one cheap.

`.b10_transfer/saved`, in the first cache root that holds anything, notes the state of the tree and
of the store.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store import (
    RECORD_FOLDER,
    PackId,
    SnapshotName,
    StoreState,
    digest_of,
    parse_digest,
    parse_snapshot_id,
)
from b10_transfer.local.record import FORMS, UNUSABLE, read_record, write_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from b10_store import Address, Skipped
    from b10_transfer.local.scan import Tree
    from b10_transfer.operations.context import Context

_NAME = "saved"

_VALID_SECONDS = 86400.0
"""After this time a save looks closely again, so that artifacts in use do not expire."""


@dataclass(frozen=True, slots=True)
class LastSave:
    """The state that a save found when it left nothing to do.

    Attributes:
        state: the state of the local tree and of the settings; see `local_state`.
        store_state: the state of the store.
        found: the number of artifacts in the local tree.
        stored_bytes: see `SaveReport.stored_bytes`.
        left_out: see `SaveReport.left_out_files`.
        reused: see `LocalScan.reused`.
        recompiled: see `LocalScan.recompiled`.
    """

    state: str
    store_state: StoreState
    found: int
    stored_bytes: int
    left_out: Mapping[str, tuple[str, ...]]
    reused: int
    recompiled: dict[str, int] | None


def tree_state(tree: Tree, links: Iterable[Skipped]) -> str:
    """Return a digest of the files in cache roots, and of the links that are not followed.

    Args:
        tree: the cache roots and their files, by whose fingerprints it goes.
        links: every save reports them, so a new one must not look like no change.
    """
    lines = sorted(f"{link.location}\0{link.reason}" for link in links)
    for root, found in tree:
        lines.append(f"{root.name}\0{root.folder}")
        # One loop over plain values: this is most of what a save with nothing new does.
        lines += [
            f"{path}\0{executable}\0{size}\0{mtime}\0{ctime}\0{inode}"
            for path, _, (size, mtime, ctime, inode), executable, _ in found
        ]
    return digest_of("\n".join(lines).encode("utf-8", "surrogateescape"))


def local_state(files: str, context: Context) -> str:
    """Return a digest of everything local that a save depends on.

    Args:
        files: what `tree_state` returned.
        context: of this host.
    """
    parts = [
        files,
        context.settings.store,
        str(context.address),
        context.environment.requirement,
        f"forms {FORMS}",
        # It tells which key signs, without revealing the key.
        *(key.fingerprint for key in context.settings.signing_keys[:1]),
        *(str(_stamp_of_loads(root.folder)) for root in context.roots),
    ]
    return digest_of("\n".join(parts).encode("utf-8", "surrogateescape"))


def read_last_save(tree: Tree, address: Address) -> LastSave | None:
    """Return the note; None when there is none."""
    if not tree:
        return None
    content = read_record(_home_of(tree), _NAME)
    try:
        if not 0 <= time.time() - float(content["noted_at"]) < _VALID_SECONDS:
            return None
        compiled = content["recompiled"]
        return LastSave(
            state=str(content["state"]),
            store_state=StoreState(
                listed=_names(address, content["listed"]),
                heads=_names(address, content["heads"]),
                packs={
                    PackId(parse_digest(pack)): int(size) for pack, size in content["packs"].items()
                },
            ),
            found=int(content["found"]),
            stored_bytes=int(content["stored_bytes"]),
            left_out={
                str(reason): tuple(map(str, files)) for reason, files in content["left_out"].items()
            },
            reused=int(content["reused"]),
            recompiled=None if compiled is None else {k: int(n) for k, n in compiled.items()},
        )
    except UNUSABLE:
        return None


def write_last_save(tree: Tree, last: LastSave) -> None:
    """Note a save; a failure only means that work is done twice."""
    content = {
        "noted_at": time.time(),
        "state": last.state,
        "listed": sorted(name.snapshot for name in last.store_state.listed),
        "heads": sorted(name.snapshot for name in last.store_state.heads),
        "packs": dict(last.store_state.packs),
        "found": last.found,
        "stored_bytes": last.stored_bytes,
        "left_out": last.left_out,
        "reused": last.reused,
        "recompiled": last.recompiled,
    }
    write_record(_home_of(tree), _NAME, content)


def _home_of(tree: Tree) -> str:
    """Return the first cache root that holds anything, else the first one."""
    return next((root.folder for root, found in tree if found), tree[0][0].folder)


def _names(address: Address, snapshots: list[str]) -> frozenset[SnapshotName]:
    return frozenset(SnapshotName(address, parse_snapshot_id(text)) for text in snapshots)


def _stamp_of_loads(folder: str) -> int:
    """Return a stamp that changes whenever a load notes something, which matters to a save."""
    try:
        return os.stat(os.path.join(folder, RECORD_FOLDER, "loaded")).st_mtime_ns
    except OSError:
        return 0
