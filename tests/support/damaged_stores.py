"""A small store, to be damaged in one way after the other, and what can still be had of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from typing import TYPE_CHECKING

from b10_store.format.names import pack_path
from b10_store.manifests.merge import merge, superseded_by
from b10_store.manifests.reader import ManifestReader
from b10_store.remote.folder import FolderRemote
from tests.support.cache_trees import LOCAL_RECORD, elf
from tests.support.sites import Host
from tests.support.store_views import clock_behind
from tests.support.trees import (
    Artifact,
    Artifacts,
    artifacts_of,
    compiled,
    put_artifacts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.format.manifest import Entry, Pack
    from tests.support.damage import Damage

_MODELS = ("first", "second")
_HOUR = 3600.0
_SETTLING_SECONDS = 2.5


def make_two_heads(folder: Path) -> None:
    """Two manifests that do not know of each other, each with a pack."""
    for model in _MODELS:
        saver = Host(folder / f"store-of-{model}", folder / model)
        put_artifacts(saver, _model(model))
        saver.save()
        shutil.copytree(saver.store, folder / "store", dirs_exist_ok=True)
    _leave_a_session(folder)


def make_parent_and_child(folder: Path) -> None:
    """Two manifests of which the second supersedes the first, each with a pack."""
    saver = Host(folder / "store", folder / "saver")
    for number, model in enumerate(_MODELS):
        put_artifacts(saver, _model(model))
        with clock_behind((len(_MODELS) - number) * 60):
            saver.save()
    _leave_a_session(folder)


class Original:
    """The store as it was before any damage, and a host that has everything."""

    def __init__(self, folder: Path) -> None:
        """Use a folder in which one of the functions above made a store."""
        self.folder = folder
        self._store = folder / "store"
        self._working = folder / "working"
        host = self.host_with_everything(self._working)
        put_artifacts(
            host, {name: item for model in _MODELS for name, item in _model(model).items()}
        )
        self.everything: Artifacts = artifacts_of(host)
        reader = ManifestReader(FolderRemote(str(self._store)), str(host.folder), ())
        self._manifests = [reader.read(name) for name in reader.names()]
        self._remembered = folder / "remembered"

    def let_the_saver_remember(self) -> None:
        """Let the host with everything note that its tree, and the store, are as they are now.

        It takes note of files only that have not changed for two seconds.
        """
        self._reset()
        time.sleep(_SETTLING_SECONDS)
        self.host_with_everything(self._working).save(wait=False)
        shutil.copytree(self._own_record(), self._remembered)

    def host_with_everything(self, store: Path) -> Host:
        """A host that compiled all of it and never loaded."""
        return Host(store, self.folder / "everything")

    def damaged(self, case: Damage) -> Path:
        """A copy of the store with some damage."""
        self._reset()
        case.apply(self._working)
        return self._working

    def clean_up(self) -> None:
        """Remove what a case left beside the store."""
        for name in ("new", "newer"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        if self._remembered.exists():
            shutil.rmtree(self._own_record())
            shutil.copytree(self._remembered, self._own_record())

    def verifiable(self, case: Damage) -> set[str]:
        """The names of all artifacts of which the manifest and the bytes are what they were."""
        readable = [item for item in self._manifests if item.name.manifest_path not in case.files]
        superseded = superseded_by(readable)
        stored = merge([item for item in readable if item.name.snapshot not in superseded])
        stored_names: set[str] = set()
        verifiable: set[str] = set()
        for identity, entry in stored.entries.items():
            name = f"{identity.root}/{identity.path}"
            stored_names.add(name)
            if not _is_spoiled(entry, stored.packs[entry.location.pack], case):
                verifiable.add(name)
        # A Triton kernel of which a part is missing is of no use, and would make Triton fail.
        kernels = {_folder(name) for name in stored_names if "/__grp__" in name}
        torn = {_folder(name) for name in stored_names - verifiable} & kernels
        return {name for name in verifiable if _folder(name) not in torn}

    def _own_record(self) -> Path:
        return self.host_with_everything(self._working).root / LOCAL_RECORD

    def _reset(self) -> None:
        shutil.rmtree(self._working, ignore_errors=True)
        shutil.copytree(self._store, self._working)


def made_again(name: str, artifact: Artifact) -> tuple[str, Artifact]:
    """What a compiler makes of the same input another time: other bytes.

    A graph is named by its content, so it gets another name; a Triton group only lists its files.
    """
    folder, _, base = name.rpartition("/")
    if base.startswith("__grp__"):
        return name, artifact
    if base.endswith(".so"):
        return name, Artifact(elf(b"again" + artifact.data), executable=True)
    # What Triton notes has to stay JSON.
    data = artifact.data + (b" " if base.endswith(".json") else b" again")
    if folder.startswith(("inductor/fxgraph/", "inductor/aotautograd/")):
        return f"{folder}/{hashlib.sha256(data).hexdigest()}", Artifact(data)
    return name, Artifact(data)


def _model(name: str) -> Artifacts:
    return compiled(name, spanning=name == _MODELS[0])


def _leave_a_session(folder: Path) -> None:
    """The token of a saver that was killed an hour ago while it wrote its manifest."""
    manifest = next((folder / "store" / "manifests").iterdir())
    token = folder / "store" / "sessions" / f"{manifest.stem}.session"
    token.write_bytes(manifest.read_bytes()[:700])
    past = time.time() - _HOUR
    os.utime(token, (past, past))


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _is_spoiled(entry: Entry, pack: Pack, case: Damage) -> bool:
    file = pack_path(entry.location.pack)
    return any(
        case.spoils(file, pack.frames.stored_start(index), pack.frames.sizes[index][0])
        for index in pack.frames.covering(entry.location.offset, entry.size)
    )
