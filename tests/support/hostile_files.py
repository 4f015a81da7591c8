"""What is planted in a store that is no regular file, or has bits that no file of ours has."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

from b10_store.format.frame import compress_frame
from tests.support.forged_stores import Outcome, entry_row
from tests.support.trees import Artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.support.forged_stores import Case, Forge

OUTSIDE = "outside.txt"
"""A file beside the store that nobody has any business in."""

_CONTENT = b"harmless"


def _link(target: str) -> Callable[[Path, Forge], None]:
    def make(path: Path, forge: Forge) -> None:
        path.symlink_to(target.replace("SCRATCH", str(forge.scratch)))

    return make


def _pipe(path: Path, forge: Forge) -> None:
    del forge
    os.mkfifo(path)


def _socket(path: Path, forge: Forge) -> None:
    short = forge.scratch / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short))
    short.rename(path)


def _device(path: Path, forge: Forge) -> None:
    """An endless one; where this user may make none, a link to one has to do."""
    del forge
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/zero")


def _folder(path: Path, forge: Forge) -> None:
    del forge
    path.mkdir()
    (path / "x").write_bytes(b"x")


def _unreadable(path: Path, forge: Forge) -> None:
    del forge
    path.write_bytes(b"x")
    path.chmod(0)


_KINDS: Mapping[str, Callable[[Path, Forge], None]] = {
    "a link to a file of the system": _link("/etc/passwd"),
    "a link to a file": _link(f"SCRATCH/{OUTSIDE}"),
    "a link to nothing": _link("SCRATCH/nothing"),
    "a link to itself": _link("itself"),
    "a link to a folder": _link("SCRATCH"),
    "a link to an endless device": _link("/dev/zero"),
    "a device": _device,
    "a pipe": _pipe,
    "a socket": _socket,
    "a folder": _folder,
    "a file that nobody may read": _unreadable,
}


def _in_packs(make: Callable[[Path, Forge], None]) -> Case:
    """A manifest of an artifact whose pack is such a thing."""

    def plant(forge: Forge) -> Outcome:
        pack = forge.plant_pack([(compress_frame(_CONTENT), len(_CONTENT))])
        forge.plant_rows([entry_row("forged/x.py", _CONTENT)], pack)
        path = forge.store / "packs" / f"{pack.row[:32].hex()}.pack"
        path.unlink()
        make(path, forge)
        # Root reads the last of these kinds, and finds other bytes.
        return Outcome(again=("SKIPPED", "ERROR") if make is _unreadable else ("ERROR",))

    return plant


def _in_manifests(make: Callable[[Path, Forge], None]) -> Case:
    def plant(forge: Forge) -> Outcome:
        make(forge.store / forge.name().manifest_path, forge)
        # A listing tells folders, which no manifest is.
        return Outcome(refused=make is not _folder)

    return plant


def _beside(folder: str, name: str, make: Callable[[Path, Forge], None]) -> Case:
    """Such a thing in a place that a load has no need of."""

    def plant(forge: Forge) -> Outcome:
        place = forge.store / folder
        place.mkdir(exist_ok=True)
        make(place / name, forge)
        return Outcome(refused=False)

    return plant


def _instead(name: str, make: Callable[[Path, Forge], None]) -> Case:
    """Such a thing in the place of what every load looks at: nothing can be had, and it is told."""

    def plant(forge: Forge) -> Outcome:
        place = forge.store / name
        if place.exists():
            place.rename(forge.store / "was")
        make(place, forge)
        return Outcome(displacing=True)

    return plant


def _link_to_a_good_manifest(forge: Forge) -> Outcome:
    """A second name of the good one: by its header it is another's."""
    good = forge.store / forge.good.name.manifest_path
    (forge.store / forge.name().manifest_path).hardlink_to(good)
    return Outcome()


def _hard_link_to_a_secret(forge: Forge) -> Outcome:
    pack = forge.plant_pack([(compress_frame(_CONTENT), len(_CONTENT))])
    forge.plant_rows([entry_row("forged/x.py", _CONTENT)], pack)
    path = forge.store / "packs" / f"{pack.row[:32].hex()}.pack"
    path.unlink()
    path.hardlink_to(forge.scratch / OUTSIDE)
    return Outcome()


def _special_modes(forge: Forge) -> Outcome:
    """All that was saved, with every mode bit there is."""
    pack = forge.plant_pack([(compress_frame(_CONTENT), len(_CONTENT))])
    forge.plant_rows([entry_row("forged/x.py", _CONTENT, flags=0xFF)], pack)
    for folder in ("packs", "manifests"):
        for path in (forge.store / folder).iterdir():
            path.chmod(0o7777)
        (forge.store / folder).chmod(0o7777)
    extra = {"inductor/forged/x.py": Artifact(_CONTENT, executable=True)}
    return Outcome(refused=False, extra=extra)


def _names_that_are_none(forge: Forge) -> Outcome:
    """Listings of other things, one of them of 20,000 names."""
    key = forge.good.name.address.environment_key
    names = ["..manifest", f"{key}~..manifest", f"{key}.ns~x.manifest", "x" * 255, "\n", "~"]
    for folder in ("manifests", "packs"):
        for name in names:
            forge.write(f"{folder}/{name}", b"x")
    for at in range(20_000):
        os.link(forge.store / "packs/~", forge.store / f"manifests/{at:032x}~x.manifest")
    return Outcome(refused=False)


CASES: Mapping[str, Case] = {
    **{f"{kind} for a pack": _in_packs(make) for kind, make in _KINDS.items()},
    **{f"{kind} for a manifest": _in_manifests(make) for kind, make in _KINDS.items()},
    **{
        f"{kind} in {folder}": _beside(folder, "x" * 32, make)
        for folder in ("sessions", "trash")
        for kind, make in _KINDS.items()
    },
    **{
        f"{kind} instead of {name}": _instead(name, make)
        for name in ("FORMAT", "manifests", "packs", "trash")
        for kind, make in _KINDS.items()
    },
    "another name of the good manifest": _link_to_a_good_manifest,
    "another name of a secret": _hard_link_to_a_secret,
    "every mode bit": _special_modes,
    "20,000 names that are none": _names_that_are_none,
}
