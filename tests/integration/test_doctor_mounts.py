"""`doctor` on a real network filesystem, with two clients that cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_transfer.doctor import examine
from tests.support.bare_machines import ordinary_programs
from tests.support.cache_trees import compiled_graph, snapshot
from tests.support.machines import CPU_MACHINE, running_on
from tests.support.shared_mounts import moosefs
from tests.support.sites import Host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_a_network_filesystem_with_two_clients_can_do_all_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", ordinary_programs(tmp_path / "ordinary"), prepend=":")
    with running_on(CPU_MACHINE), moosefs(tmp_path / "mfs") as clients:
        stores = [client / "store" for client in clients]
        saver = Host(stores[0], tmp_path / "saver")
        saver.write(compiled_graph("model"))
        saver.save()
        loader = Host(stores[1], tmp_path / "loader")
        assert [item.code for item in examine(loader.settings())] == []
        left = [name for name in snapshot(stores[0]) if "probe" in name]
        assert left == []
