"""The newest signed manifest that this host has seen, to notice a store that was set back.

A signature does not age: whoever can write to the store can take a signed manifest away and put an
older one back. A host that remembers the newer one notices; a fresh one cannot.

`.b10_transfer/seen`, in the first cache root that exists, holds a snapshot id by address.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from b10_store import SnapshotId, parse_snapshot_id, snapshot_milliseconds
from b10_transfer.local.record import UNUSABLE, read_record, write_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b10_store import Heads
    from b10_transfer.operations.context import Context

_NAME = "seen"


def rollback_problem(context: Context, heads: Heads) -> str | None:
    """Return a problem when everything stored for this address is older than what was seen here.

    A file with the name of the newer manifest proves nothing: whoever put the older one back can
    create that file.

    Args:
        context: of this host.
        heads: the heads of its address, as read.
    """
    seen = _newest_seen(context)
    if seen is None or not heads.manifests:
        return None
    newest = max(head.name.snapshot for head in heads.manifests)
    if newest >= seen:
        return None
    return (
        f"the newest cache stored here is from {_when(newest)}, but this host has seen one from "
        f"{_when(seen)}: an older state of the store was put back. If that was not intended, "
        f"remove it with `b10-transfer remove {context.address}`; a new save ends this message"
    )


def note_newest(context: Context, snapshots: Iterable[SnapshotId]) -> None:
    """Remember the newest of some snapshots, if manifests are signed; a failure is ignored."""
    if not context.settings.signing_keys:
        return
    home = next((root.folder for root in context.roots if os.path.isdir(root.folder)), None)
    newest = max(snapshots, default=None)
    if home is None or newest is None or newest <= (_newest_seen(context) or ""):
        return
    write_record(home, _NAME, {"newest": {**_read(home), str(context.address): newest}})


def _newest_seen(context: Context) -> SnapshotId | None:
    if not context.settings.signing_keys:
        return None
    address = str(context.address)
    records = (_read(root.folder) for root in context.roots)
    return max((found[address] for found in records if address in found), default=None)


def _read(folder: str) -> dict[str, SnapshotId]:
    content = read_record(folder, _NAME)
    try:
        return {address: parse_snapshot_id(text) for address, text in content["newest"].items()}
    except UNUSABLE:
        return {}


def _when(snapshot: SnapshotId) -> str:
    moment = time.gmtime(snapshot_milliseconds(snapshot) // 1000)
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", moment)
