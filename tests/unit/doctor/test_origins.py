from __future__ import annotations

from typing import TYPE_CHECKING

from b10_transfer.doctor import examine
from tests.support.machines import CPU_MACHINE, running_on
from tests.support.vector_sources import AVX2_FLAGS, GRAPH, LIBRARY, compiled_for

if TYPE_CHECKING:
    from tests.support.sites import Site


def test_doctor_names_what_would_compute_wrong_numbers_and_changes_nothing(site: Site) -> None:
    host = site.host("replica", compiled_for(16))
    with running_on(CPU_MACHINE.but(flags=AVX2_FLAGS)):
        found = [item for item in examine(host.settings()) if item.code == "root.harmful"]
        again = [item for item in examine(host.settings()) if item.code == "root.harmful"]
    assert [item.details["files"] for item in found] == [sorted((GRAPH, LIBRARY))] * 2
    assert any(GRAPH in item.text for item in found)
    assert all("b10-transfer load" in item.advice for item in found)
    assert found == again
    assert host.tree() == compiled_for(16)


def test_doctor_has_nothing_to_say_of_what_was_made_here(site: Site) -> None:
    host = site.host("replica", compiled_for(8))
    with running_on(CPU_MACHINE.but(flags=AVX2_FLAGS)):
        codes = {item.code for item in examine(host.settings())}
    assert not codes & {"root.harmful", "root.other_machine"}
