"""What a manifest leaves out to stay within its size."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from b10_store.errors import SizeLimitError
from b10_store.manifest import stored_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store.layout import PackId
    from b10_store.manifest import Entry, Identity, Pack


def expire_oldest(
    entries: Mapping[Identity, Entry],
    packs: Mapping[PackId, Pack],
    local: Iterable[Identity],
    limit: int,
) -> dict[Identity, Entry]:
    """Leave out the oldest entries, whole folders, until the stored bytes are within `limit`.

    Raises:
        SizeLimitError: what this host itself has is over the limit, so nothing could be left out.
    """
    if stored_bytes(entries.values(), packs) <= limit:
        return dict(entries)
    here = set(local)
    own = stored_bytes((entry for key, entry in entries.items() if key in here), packs)
    if own > limit:
        raise SizeLimitError(
            f"the local artifacts take {own / 1e6:.1f} MB compressed, over the limit of "
            f"{limit / 1e6:.1f} MB"
        )
    units = _oldest_first(entries, here)
    # The bytes shrink with every unit that goes, so the least number of them is found by bisection.
    enough, too_few = len(units), -1
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if stored_bytes(_without(entries, units[:middle]).values(), packs) <= limit:
            enough = middle
        else:
            too_few = middle
    return _without(entries, units[:enough])


def _without(
    entries: Mapping[Identity, Entry], units: Sequence[list[Identity]]
) -> dict[Identity, Entry]:
    gone = {identity for unit in units for identity in unit}
    return {identity: entry for identity, entry in entries.items() if identity not in gone}


def _oldest_first(entries: Mapping[Identity, Entry], here: set[Identity]) -> list[list[Identity]]:
    """Units that expire together, oldest first: what lies in one folder belongs together.

    Folders of which something is here come last, and only what is not here of them: the limit holds
    even where all is in one folder.
    """
    folders: defaultdict[tuple[str, str], list[Identity]] = defaultdict(list)
    kept_folders: set[tuple[str, str]] = set()
    for identity in entries:
        folder = identity.root, identity.path.rpartition("/")[0]
        if identity in here:
            kept_folders.add(folder)
        else:
            folders[folder].append(identity)

    def age(folder: tuple[str, str]) -> tuple[bool, int, Identity]:
        unit = folders[folder]
        newest = max(entries[identity].saved_ms for identity in unit)
        return folder in kept_folders, newest, unit[0]

    return [folders[folder] for folder in sorted(folders, key=age)]
