"""Machines that differ in a field of the environment key see nothing of each other's artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import b10_transfer
from b10_transfer import OperationStatus
from b10_transfer.machine.environment import diff
from tests.support.cache_trees import compiled_graph, elf, leftovers
from tests.support.machines import CPU_MACHINE, GPU_MACHINE, running_on
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from b10_transfer import LoadReport, SaveReport
    from tests.support.machines import Machine
    from tests.support.sites import Host

PROBE = {"cd/probe.so": elf(b"the same everywhere")}
FIRST = {**PROBE, **compiled_graph("model", 1)}
SECOND = {**PROBE, **compiled_graph("model", 2)}
"""The same model compiled elsewhere: other bytes at some of the paths of the first."""

SHARED_FACTS: dict[str, dict[str, Any]] = {
    "torch": {"torch": "2.13.1"},
    "torch_git": {"torch_git": "cf30153d"},
    "triton": {"triton": "3.7.1+git96316ce5"},
    "python": {"python": "PyPy"},
    "python_abi": {"python_abi": "cpython-312t-x86_64-linux-gnu"},
    "os": {"system": "Windows"},
    "machine": {"machine": "AMD64"},
    "vector_isa": {"capability": "avx2"},
}
CPU_FACTS: dict[str, dict[str, Any]] = {
    "cpu_flags": {"flags": f"{CPU_MACHINE.flags} gfni"},
    "c_library": {"c_library": "glibc 2.39"},
}
GPU_FACTS: dict[str, dict[str, Any]] = {
    "device": {"gpu": "NVIDIA H100 PCIe"},
    "compute_capability": {"compute": "9.1"},
    "cuda": {"cuda": "12.9"},
}
ROCM_MACHINE = GPU_MACHINE.but(torch="2.13.0+rocm6.4", cuda=None, hip="6.4.1", compute="gfx942")

ONE_FIELD = [
    pytest.param(machine, machine.but(**changes), {field}, id=f"{kind}: {field}")
    for kind, machine, facts in (
        ("CPU", CPU_MACHINE, SHARED_FACTS | CPU_FACTS),
        ("GPU", GPU_MACHINE, SHARED_FACTS | GPU_FACTS),
        ("ROCm", ROCM_MACHINE, {"hip": {"hip": "6.4.2"}}),
    )
    for field, changes in facts.items()
]
SEVERAL_FIELDS = [
    pytest.param(
        CPU_MACHINE,
        CPU_MACHINE.but(machine="aarch64", flags="asimd bf16"),
        {"machine", "vector_isa", "cpu_flags"},
        id="an Arm CPU",
    ),
    pytest.param(
        CPU_MACHINE,
        CPU_MACHINE.but(flags="fma avx2"),
        {"vector_isa", "cpu_flags"},
        id="a CPU without AVX-512",
    ),
    pytest.param(
        GPU_MACHINE,
        GPU_MACHINE.but(flags="fma avx2"),
        {"vector_isa"},
        id="a CPU without AVX-512 beside the same GPU",
    ),
    pytest.param(
        GPU_MACHINE,
        GPU_MACHINE.but(gpu=f"{GPU_MACHINE.gpu} MIG 1g.10gb"),
        {"device"},
        id="a slice of the same GPU",
    ),
    pytest.param(
        GPU_MACHINE,
        GPU_MACHINE.but(gpu=""),
        {"device", "compute_capability", "cuda", "cpu_flags", "c_library"},
        id="no GPU in sight",
    ),
    pytest.param(
        GPU_MACHINE,
        ROCM_MACHINE,
        {"torch", "compute_capability", "cuda", "hip"},
        id="ROCm",
    ),
]

SHARED_RECORDS: dict[str, dict[str, Any]] = {
    "threads": {"threads": "3"},
    "site_packages": {"site_packages": "/opt/venv/lib/python3.12/site-packages"},
    "python_include": {"include": "/opt/python/include/python3.12"},
    "cxx_compiler": {"compiler": "/usr/bin/clang++"},
    "precompiled_headers": {"headers": "off"},
}
DRIVER: dict[str, dict[str, Any]] = {"driver": {"driver": "580.65.06"}}

TOGETHER = [
    pytest.param(machine, machine.but(**changes), field, id=f"{kind}: {field}")
    for kind, machine, facts in (
        ("CPU", CPU_MACHINE, SHARED_RECORDS),
        ("GPU", GPU_MACHINE, SHARED_RECORDS | DRIVER | CPU_FACTS),
    )
    for field, changes in facts.items()
]


def save_on(machine: Machine, host: Host) -> SaveReport:
    with running_on(machine):
        return host.save()


def load_on(machine: Machine, host: Host) -> LoadReport:
    with running_on(machine) as environment:
        report = host.load()
    assert report.unavailable == 0
    assert report.environment_key == environment.key
    return report


def list_on(machine: Machine) -> dict[str, Any]:
    with running_on(machine):
        listing = b10_transfer.list_available_caches()
    assert listing["error"] is None
    return listing


def differing(machine: Machine, row: dict[str, Any]) -> set[str]:
    """The fields in which a machine differs from one whose cache is listed."""
    here = [(field.name, field.value) for field in machine.environment().fields]
    return {difference.name for difference in diff(here, row["environment"].items())}


@pytest.mark.parametrize(("machine", "other", "fields"), [*ONE_FIELD, *SEVERAL_FIELDS])
def test_a_load_brings_nothing_that_was_saved_by_machines_with_another(
    machine: Machine, other: Machine, fields: set[str], site: Site
) -> None:
    assert fields
    assert save_on(machine, site.host("saver", FIRST)).added == len(FIRST)
    loader = site.host("loader")
    report = load_on(other, loader)
    assert (report.status, report.loaded) == (OperationStatus.DOES_NOT_EXIST, 0)
    assert {difference.name for difference in report.differences} == fields
    assert loader.tree() == {}
    assert leftovers(loader.root) == []

    # What the other machine saves at the same paths changes nothing for the first.
    loader.write(SECOND)
    saved = save_on(other, loader)
    assert (saved.status, saved.added) == (OperationStatus.SUCCESS, len(SECOND))
    for name, loading, expected in (("first", machine, FIRST), ("second", other, SECOND)):
        fresh = site.host(name)
        report = load_on(loading, fresh)
        assert (report.status, report.loaded) == (OperationStatus.SUCCESS, len(expected))
        assert fresh.tree() == expected


@pytest.mark.parametrize(("machine", "other", "fields"), [*ONE_FIELD, *SEVERAL_FIELDS])
def test_the_caches_that_are_listed_differ_in(
    machine: Machine,
    other: Machine,
    fields: set[str],
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_on(machine, become(site.host("saver", FIRST), monkeypatch))
    assert list_on(machine)["current_cache_exists"]
    listing = list_on(other)
    assert not listing["current_cache_exists"]
    assert [row["is_current_environment"] for row in listing["caches"]] == [False]

    save_on(other, site.host("other saver", SECOND))
    for here in (machine, other):
        listing = list_on(here)
        assert (listing["total_caches"], listing["current_cache_exists"]) == (2, True)
        assert listing["current_environment"] == here.environment().key
        for row in listing["caches"]:
            own = row["environment_key"] == here.environment().key
            assert row["is_current_environment"] == own
            assert differing(here, row) == (set() if own else fields)


@pytest.mark.parametrize(("machine", "other", "field"), TOGETHER)
def test_artifacts_are_shared_by_machines_with_another(
    machine: Machine, other: Machine, field: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recorded(machine)[field] != recorded(other)[field]
    save_on(machine, site.host("saver", FIRST))
    loader = become(site.host("loader"), monkeypatch)
    report = load_on(other, loader)
    assert report.status is OperationStatus.SUCCESS
    assert {difference.name for difference in report.differences} == {field}
    # What the native code of a GPU machine needs of its CPU does not part the rest.
    native = field in CPU_FACTS
    assert loader.tree() == {
        path: data for path, data in FIRST.items() if not (native and path.endswith(".so"))
    }
    assert save_on(other, loader).status is OperationStatus.SKIPPED
    listing = list_on(other)
    assert (listing["total_caches"], listing["current_cache_exists"]) == (1, True)
    assert differing(other, listing["caches"][0]) == set()


def recorded(machine: Machine) -> dict[str, str]:
    return {field.name: field.value for field in machine.environment().recorded}
