"""Every `Remote` of the engine keeps the contract that `b10_store.testing` ships."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import b10_store.remote
from b10_store.remote.patient import PatientRemote
from b10_store.remote.protocol import Remote
from b10_store.testing.contract import RemoteContract
from b10_store.testing.places import FolderPlace, MemoryPlace
from tests.support.sites import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from b10_store.testing.places import Place


def patient_place(folder: Path) -> Place:
    inner = FolderPlace(folder)
    inner.remote = PatientRemote(inner.remote)
    return inner


PLACES: dict[str, Callable[[Path], Place]] = {
    "folder": FolderPlace,
    "memory": lambda _: MemoryPlace(),
    "patient": patient_place,
}


class TestEveryRemote(RemoteContract):
    @pytest.fixture(params=PLACES)
    def place(self, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
        return PLACES[str(request.param)](tmp_path / "store")


def every_remote() -> set[type]:
    """Each class of the engine that has all methods of `Remote`."""
    methods = {name for name in vars(Remote) if not name.startswith("_")}
    found: set[type] = set()
    for item in pkgutil.iter_modules(b10_store.remote.__path__, "b10_store.remote."):
        classes = vars(importlib.import_module(item.name)).values()
        found |= {one for one in classes if isinstance(one, type) and methods <= {*dir(one)}}
    return found - {Remote}


def test_every_remote_is_tried_here(tmp_path: Path) -> None:
    tried = {type(make(tmp_path / name).remote) for name, make in PLACES.items()}
    missing = {item.__name__ for item in every_remote() - tried}
    assert missing == set(), f"add {missing} to PLACES in tests/contract/test_remote.py"


def test_places_can_be_used_without_pytest() -> None:
    code = "import sys, b10_store.testing.places; sys.exit('pytest' in sys.modules)"
    store = CHECKOUT / "store"
    done = subprocess.run([sys.executable, "-c", code], cwd=store, check=False)
    assert done.returncode == 0
