"""Repair damage: intact packs go back to their place, damaged files to quarantine."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from b10_store.errors import StoreError
from b10_store.format.marker import check_format
from b10_store.format.names import pack_path, parse_pack_name, quarantined_name
from b10_store.gc.trash import read_trash
from b10_store.manifests.problem import Damage, Problem
from b10_store.packs.health import is_intact
from b10_store.remote.folder_names import QUARANTINE
from b10_store.remote.protocol import is_no_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from b10_store.format.names import PackId
    from b10_store.remote.protocol import Remote

_AGAIN = "~"
"""It stands before the random part of a name in quarantine, if the name was taken."""


class Repair:
    """Repairs what a check found, as far as the store still has the bytes."""

    def __init__(self, remote: Remote, copy_out: Callable[[PackId], tuple[int, int]]) -> None:
        """Find out what is in trash and quarantine.

        Args:
            remote: the store.
            copy_out: copies the intact blobs of a pack into new packs, for every address that
                references it, and returns how many blobs it copied and how many are lost. Raises
                OSError or StoreError when it cannot.

        Raises:
            OSError: they cannot be listed.
        """
        self._remote = remote
        self._copy_out = copy_out
        self._spares = _find_spares(remote)

    def repair_manifest(self, fault: Problem) -> Problem:
        """Move a manifest to quarantine if nobody can use it; return the fault, and what was done.

        In a store of this release's format, nobody can use a manifest of another format.
        """
        is_useless = fault.damage is Damage.DAMAGED or (
            fault.damage is Damage.UNSUPPORTED and check_format(self._remote)
        )
        if not is_useless:
            return fault
        return self._quarantined(
            fault, "; its artifacts are missing until a host that has them saves"
        )

    def repair_pack(self, pack: PackId, size: int, fault: Problem) -> Problem:
        """Replace a missing or damaged pack by an intact copy.

        Without one, the intact blobs of a damaged pack are copied out before it goes to quarantine:
        one wrong byte must not lose the rest. The next save by a host that has the missing bytes
        uploads them. A pack that cannot be read stays, since nothing is known about it.

        Returns:
            The fault, and what was done.
        """
        if fault.damage is Damage.DAMAGED:
            doubt = self._doubt(pack, fault)
            if doubt:
                return replace(fault, reason=f"{fault.reason}; {doubt}")
            fault = self._set_aside(pack, size, fault)
            if not fault.repaired or self._is_there(pack, size):
                return fault
        if fault.damage in (Damage.DAMAGED, Damage.MISSING):
            for spare in self._spares.get(pack, ()):
                if self._put_back(spare, pack, size):
                    return replace(fault, repaired=f"put back from {spare}")
        return fault

    def _doubt(self, pack: PackId, fault: Problem) -> str:
        """Return why a pack that seems damaged stays in its place; "" when it is damaged."""
        # A manifest may be wrong about a length, and a client's cache about bytes even twice; only
        # the pack's own name is proof.
        try:
            if is_intact(self._remote, fault.name, pack, self._remote.stat(fault.name).size):
                return "left in place, since its bytes match its name"
        except OSError as error:
            if not is_no_file(error):
                return f"read once more: {error}"
        return ""

    def _set_aside(self, pack: PackId, size: int, fault: Problem) -> Problem:
        if any(self._is_spare(spare, pack, size) for spare in self._spares.get(pack, ())):
            return self._quarantined(fault, "")
        try:
            copied, lost = self._copy_out(pack)
        except (OSError, StoreError) as error:
            # Most of it may be useful, as long as it stays.
            return replace(
                fault,
                reason=f"{fault.reason}; left, since its intact blobs cannot be copied: {error}",
            )
        if copied and self._is_spare(fault.name, pack, size):
            # Only bytes beside the blobs were damaged: copied out, the blobs made the same pack.
            return replace(fault, repaired="written again from its intact blobs")
        if not copied:
            return self._quarantined(
                fault, "; its artifacts are missing until a host that has them saves"
            )
        rest = f", {lost} missing until a host that has them saves" if lost else ""
        return self._quarantined(fault, f"; {copied} of its blobs copied out first{rest}")

    def _put_back(self, spare: str, pack: PackId, size: int) -> bool:
        if not self._is_spare(spare, pack, size):
            return False
        try:
            self._remote.rename(spare, pack_path(pack))
        except OSError:
            # A rename can succeed although its answer is lost, so the name decides.
            return self._is_there(pack, size)
        return True

    def _is_spare(self, name: str, pack: PackId, size: int) -> bool:
        try:
            whole = self._remote.stat(name).size == size
            return whole and is_intact(self._remote, name, pack, size)
        except OSError:
            return False  # a collection may be at work there

    def _is_there(self, pack: PackId, size: int) -> bool:
        try:
            return self._remote.stat(pack_path(pack)).size == size
        except OSError:
            return False

    def _quarantined(self, fault: Problem, consequence: str) -> Problem:
        base = fault.name.rpartition("/")[2]
        try:
            # By now the file of that name may be intact, and the client may have been wrong.
            taken = base in self._remote.list(QUARANTINE)
            mark = f"{_AGAIN}{os.urandom(8).hex()}" if taken else ""
            target = f"{QUARANTINE}/{base}{mark}"
            with contextlib.suppress(OSError):
                # Its time in quarantine begins now, not when it was written.
                self._remote.touch(fault.name)
            self._remote.rename(fault.name, target)
        except FileNotFoundError:
            return replace(fault, reason=f"{fault.reason}; gone meanwhile")
        except OSError as error:
            return replace(fault, reason=f"{fault.reason}; it could not be moved: {error}")
        return replace(fault, repaired=f"moved to {target}{consequence}")


def _find_spares(remote: Remote) -> Mapping[PackId, Sequence[str]]:
    """Return packs in trash and quarantine, which may be intact."""
    spares: defaultdict[PackId, list[str]] = defaultdict(list)
    found = [(folder.path, file) for folder in read_trash(remote) for file in sorted(folder.files)]
    found += [(QUARANTINE, file) for file in sorted(remote.list(QUARANTINE))]
    for folder, file in found:
        pack = parse_pack_name(quarantined_name(file))
        if pack is not None:
            spares[pack].append(f"{folder}/{file}")
    return spares
