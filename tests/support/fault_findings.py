"""What a store must be like after any fault, and what hosts get from it to which nothing fails."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from b10_store.digest import digest_of
from b10_store.format.names import (
    FORMAT_FILE,
    format_line,
    pack_id_of,
    parse_manifest_name,
    parse_pack_name,
    parse_session_name,
)
from b10_store.gc.trash import NOBODY, Stage
from b10_store.remote.folder_names import (
    FENCED,
    MANIFESTS,
    PACKS,
    QUARANTINE,
    SESSIONS,
    TEMPORARY_MARK,
    TRASH,
)
from tests.support.sites import Host
from tests.support.store_views import manifest_alone, published, store_files
from tests.support.trees import artifacts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.crash_world import World
    from tests.support.trees import Artifacts


_MARKS = frozenset({NOBODY, *(stage.mark for stage in Stage)})
_TAKEN = re.compile(r"~[0-9a-f]{16}$")

Files = frozenset[tuple[str, str]]
"""Names and digests."""


class _Loaded(NamedTuple):
    """What a load gave, and with which packs."""

    packs: Files
    artifacts: Artifacts
    wrong: list[str]


class Loads:
    """Loads by hosts that have nothing yet. The same files of a store give the same."""

    def __init__(self, world: World) -> None:
        """Look at a world's store."""
        self._world = world
        self._known: dict[Files, _Loaded] = {}

    def everything(self) -> Artifacts:
        """What a new host gets."""
        return self._load(self._world.host.store)[0]

    def problems(self) -> list[str]:
        """What such a load, or one of a manifest that is alone, has to say; [] when all is well."""
        store = self._world.host.store
        found = list(self._load(store)[1])
        for name in published(store_files(store)):
            namespace = _namespace(Path(name).name)
            with manifest_alone(store, name) as alone:
                if (store / TRASH).is_dir():
                    shutil.copytree(store / TRASH, alone / TRASH, copy_function=os.link)
                found += [f"{name}: {line}" for line in self._load(alone, namespace)[1]]
        return found

    def _load(self, store: Path, namespace: str = "") -> tuple[Artifacts, list[str]]:
        manifests = _files_in(store, MANIFESTS)
        packs = _files_in(store, PACKS) | _files_in(store, TRASH)
        known = self._known.get(manifests)
        # More packs than there were change nothing for manifests that were whole with less.
        if known is not None and (
            known.packs == packs or (not known.wrong and known.packs < packs)
        ):
            return known.artifacts, known.wrong
        artifacts, wrong = self._load_now(store, namespace)
        self._known[manifests] = _Loaded(packs, artifacts, wrong)
        return artifacts, wrong

    def _load_now(self, store: Path, namespace: str) -> tuple[Artifacts, list[str]]:
        folder = Path(tempfile.mkdtemp(prefix="new-host-", dir=self._world.folder.parent))
        try:
            host = Host(store, folder)
            report = host.load(B10_CACHE_NAMESPACE=namespace)
            # Where there is nothing, the problems tell of what there is for others.
            wrong = [] if report.status.name == "DOES_NOT_EXIST" else list(report.problems)
            if report.unavailable:
                wrong.append(f"{report.unavailable} artifacts could not be had")
            return artifacts_of(host), wrong
        finally:
            shutil.rmtree(folder)


def _files_in(store: Path, folder: str) -> Files:
    return frozenset(
        (path.relative_to((store / folder).resolve()).as_posix(), digest_of(path.read_bytes()))
        for path in (store / folder).resolve().rglob("*")
        if path.is_file() and TEMPORARY_MARK not in path.name
    )


def _namespace(base: str) -> str:
    name = parse_manifest_name(base)
    return "" if name is None else name.address.namespace


def vanished(store: Path, before: Mapping[str, bytes]) -> Iterator[str]:
    """Files that were there and are not, but for manifests that were superseded."""
    after = store_files(store)
    for name, data in before.items():
        places = [other for other in after if other.endswith(Path(name).name)]
        in_trash = name.startswith(f"{MANIFESTS}/") and [
            other for other in places if other.startswith(f"{TRASH}/")
        ]
        place = name if name in after else (in_trash or [""])[0]
        if not place:
            yield f"{name} is gone"
        elif after[place] != data:
            yield f"{place} is not what it was"


def misplaced(store: Path) -> Iterator[str]:
    """Files that gc would not know what to do with, and packs that are not whole."""
    yield from misplaced_files(
        {
            path.relative_to(store).as_posix(): path.read_bytes()
            for path in store.rglob("*")
            if path.is_file()
        }
    )


def misplaced_files(files: Mapping[str, bytes]) -> Iterator[str]:
    """The same, of a store of which all files are given with their content."""
    for name, data in files.items():
        if TEMPORARY_MARK not in name and not _has_its_place(name, data):
            yield f"{name} is not whole, or nothing of a store"


def unfinished(store: Path) -> set[str]:
    """Sessions and temporary files, which gc sweeps when they are old."""
    names = (path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file())
    return {name for name in names if TEMPORARY_MARK in name or name.startswith(f"{SESSIONS}/")}


def _has_its_place(name: str, data: bytes) -> bool:
    folder, _, base = name.rpartition("/")
    if name == FORMAT_FILE:
        return data == format_line()
    if folder == PACKS:
        return parse_pack_name(base) == pack_id_of(digest_of(data))
    if folder in (SESSIONS, FENCED):
        return parse_session_name(base) is not None
    if folder == QUARANTINE:
        # Under a name that was taken there it has a mark of its own.
        base = _TAKEN.sub("", base)
    elif name.startswith(f"{TRASH}/") and (base in _MARKS or name == f"{TRASH}/visited"):
        return True
    elif folder != MANIFESTS and not name.startswith(f"{TRASH}/"):
        return False
    return parse_manifest_name(base) is not None or parse_pack_name(base) is not None
