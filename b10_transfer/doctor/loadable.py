"""Findings about what a load could not read or place: manifests, packs and folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store import UnsupportedFormatError, pack_path
from b10_transfer.doctor.findings import note, problem
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from b10_store import PackId
    from b10_transfer.doctor.findings import Finding
    from b10_transfer.doctor.rehearsal import Rehearsal
    from b10_transfer.doctor.stored import Stored

_STORE, _STORED = "store", "stored"
_NAMED = 5
_REPAIR = (
    "run `b10-transfer check --repair`, which moves it aside; the next save of a host that has "
    "its artifacts stores them again"
)
_RIGHTS = "let this user read it (chmod, chown), or run as the user that saves"
_MOUNT = "check the mount: its server or its disk does not return the bytes"


def manifest_findings(stored: Stored) -> Iterator[Finding]:
    """Report the manifests that cannot be read, each with the reason."""
    unusable = [
        _unusable_manifest(item.name.manifest_path, item.error)
        for item in stored.damaged
        if item.error is not None
    ]
    yield from unusable[:_NAMED]
    further = len(unusable) - _NAMED
    if further > 0:
        yield problem(
            "stored.damaged",
            _STORE,
            f"{count_text(further, 'further manifest')} cannot be read",
            "`b10-transfer check` names them all",
        )
    unread = stored.listed - len(stored.manifests)
    if unread > 0:
        yield note(
            "stored.unread",
            _STORE,
            f"the time was enough for {len(stored.manifests)} of {stored.listed} manifests",
            "`b10-transfer list` reads them all; `b10-transfer gc` removes superseded ones",
            listed=stored.listed,
            read=len(stored.manifests),
        )


def pack_findings(rehearsal: Rehearsal) -> Iterator[Finding]:
    """Report the packs that a load could not read."""
    faults = rehearsal.pack_faults
    lost = [pack for pack, fault in faults.items() if isinstance(fault, FileNotFoundError)]
    damaged = [pack for pack, fault in faults.items() if isinstance(fault, str)]
    refused = [pack for pack, fault in faults.items() if isinstance(fault, PermissionError)]
    silent = [pack for pack in faults if pack not in {*lost, *damaged, *refused}]
    again = "the next save of a host that has these artifacts stores them again"
    if lost:
        yield problem(
            "stored.damaged",
            _STORE,
            _packs_text(rehearsal, lost, "not there"),
            f"{again}; `b10-transfer check --repair` looks for copies",
            packs=lost,
        )
    if damaged:
        yield problem(
            "stored.damaged",
            _STORE,
            _packs_text(rehearsal, damaged, "not of the expected length"),
            f"`b10-transfer check --repair` moves it aside; {again}",
            packs=damaged,
        )
    for unreadable, advice in ((refused, _RIGHTS), (silent, _MOUNT)):
        if unreadable:
            yield problem(
                "store.unreadable",
                _STORE,
                _packs_text(rehearsal, unreadable, f"unreadable ({faults[unreadable[0]]})"),
                advice,
                packs=unreadable,
            )


def placing_findings(rehearsal: Rehearsal) -> Iterator[Finding]:
    """Report artifacts that a load could not place, or that nothing is for this host."""
    for root, reasons in rehearsal.obstacles.items():
        fact, _, advice = reasons[0].partition("; ")
        yield problem(
            "root.unwritable",
            root,
            f"{count_text(len(reasons), 'stored artifact')} cannot be placed: {fact}",
            advice or "move it away, chown it, or clear the cache root",
        )
    entries = rehearsal.stored.entries
    if rehearsal.chosen.targets or not entries:
        return
    roots = sorted({identity.root for identity in entries})
    yield problem(
        "stored.not_for_host",
        _STORED,
        f"none of the stored artifacts ({count_text(len(entries), 'artifact')} of "
        f"{', '.join(roots)}) is for this host: their cache roots are not used here, or they are "
        "code for another CPU",
        "set B10_CACHE_ROOTS as on the server that saved, or save once from this host",
        roots=roots,
    )


def _unusable_manifest(name: str, error: Exception) -> Finding:
    if isinstance(error, OSError):
        advice = _RIGHTS if isinstance(error, PermissionError) else _MOUNT
        return _unreadable_manifest(name, error.strerror or str(error), advice)
    if isinstance(error, UnsupportedFormatError):
        return _damaged_manifest(name, str(error), "use one release on all hosts that share it")
    return _damaged_manifest(name, str(error), _REPAIR)


def _unreadable_manifest(name: str, reason: str, advice: str) -> Finding:
    text = f"{name} cannot be read: {reason}"
    return problem("store.unreadable", _STORE, text, advice, manifest=name)


def _damaged_manifest(name: str, reason: str, advice: str) -> Finding:
    return problem("stored.damaged", _STORE, f"{name}: {reason}", advice, manifest=name)


def _packs_text(rehearsal: Rehearsal, packs: Collection[PackId], fault: str) -> str:
    entries = len(rehearsal.stored.entries)
    first = pack_path(next(iter(packs)))
    named = first if len(packs) == 1 else f"{len(packs)} packs, such as {first},"
    return (
        f"{named} {'is' if len(packs) == 1 else 'are'} {fault}: "
        f"{rehearsal.unreadable(packs)} of {count_text(entries, 'artifact')} cannot be loaded"
    )
