"""Hosts that share a store: each with folders and settings of its own, in this process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from b10_transfer.operations import transfer
from b10_transfer.settings import Settings
from tests.support.any_names import AT_START, is_any_name_allowed
from tests.support.cache_trees import Tree, read_tree, write_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from b10_transfer.operations.reports import LoadReport, SaveReport

CHECKOUT = Path(__file__).resolve().parents[2]

_AT_START: dict[bool, list[str]] = {True: [str(AT_START)], False: []}

# What would change where a compiler keeps its cache, or which environment this is.
FOREIGN = (
    *("ATEN_", "B10", "BASETEN_", "CUDA_", "HOME", "LOCAL_WORK_DIR", "MAX_", "PYTHON"),
    *("TEMP", "TMP", "TORCH", "TRITON_", "VLLM_", "XDG_", "SGLANG_", "SGL_", "FLASHINFER_"),
    *("DG_", "DJ_", "TILELANG_", "CUTE_DSL_", "USER", "LOGNAME", "LNAME", "USERNAME"),
)


@dataclass(frozen=True, slots=True)
class Host:
    """One host.

    Attributes:
        store: the folder that the hosts share.
        folder: everything else that the host has.
    """

    store: Path
    folder: Path

    @property
    def root(self) -> Path:
        """Its inductor root."""
        return self.folder / "inductor"

    @property
    def triton(self) -> Path:
        """Its triton root."""
        return self.folder / "triton"

    @property
    def work(self) -> Path:
        """Its LOCAL_WORK_DIR."""
        return self.folder / "work"

    def variables(self, **changes: str | None) -> dict[str, str]:
        """The environment variables of its processes; None leaves one out."""
        own = {
            "BASETEN_FS_ENABLED": "1",
            "B10FS_CACHE_DIR": str(self.store),
            "TORCHINDUCTOR_CACHE_DIR": str(self.root),
            "TRITON_CACHE_DIR": str(self.triton),
            "LOCAL_WORK_DIR": str(self.work),
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "B10_AUTO_GC": "0",
            "PYTHONPATH": os.pathsep.join(
                [*_AT_START[is_any_name_allowed()], str(CHECKOUT), str(CHECKOUT / "store")]
            ),
        }
        for name in ("HOME", "TMPDIR"):
            Path(own[name]).mkdir(parents=True, exist_ok=True)
        self.work.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        merged: dict[str, str | None] = {**kept, **own, **changes}
        return {name: value for name, value in merged.items() if value is not None}

    def settings(self, **changes: str | None) -> Settings:
        """Its settings, with some variables changed."""
        return Settings.from_environment(self.variables(**changes))

    def write(self, tree: Mapping[str, bytes]) -> None:
        """Put files into its inductor root, as a compiler would."""
        write_tree(self.root, tree)

    def tree(self) -> Tree:
        """The files in its inductor root."""
        return read_tree(self.root)

    def load(self, **changes: str | None) -> LoadReport:
        """Load in this process."""
        return transfer.load(self.settings(**changes))

    def save(self, *, wait: bool = True, **changes: str | None) -> SaveReport:
        """Save in this process."""
        return transfer.save(self.settings(**changes), wait=wait)


@dataclass(frozen=True, slots=True)
class Site:
    """A store, and as many hosts around it as a test asks for."""

    folder: Path

    @property
    def store(self) -> Path:
        """The folder that the hosts share."""
        return self.folder / "store"

    def host(self, name: str, tree: Mapping[str, bytes] | None = None) -> Host:
        """A host, with files in its inductor root."""
        host = Host(self.store, self.folder / name)
        if tree is not None:
            host.write(tree)
        return host

    def files(self, folder: str) -> list[Path]:
        """What is in one of the store's folders, sorted."""
        place = self.store / folder
        return sorted(place.iterdir()) if place.exists() else []


def become(host: Host, monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> Host:
    """Give this process the environment variables of a host, and no others."""
    variables = host.variables(**changes)
    for name in os.environ:
        if name not in variables:
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return host
