from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from b10_transfer.machine import versions as versions
from b10_transfer.machine.cpu import Cpu
from b10_transfer.machine.environment import Difference, Environment, Field, assemble, diff
from b10_transfer.machine.gpus import FoundGpu, Gpu
from b10_transfer.machine.nearest import recorded_differences
from b10_transfer.machine.versions import Reading, TorchRelease

if TYPE_CHECKING:
    from pathlib import Path

H100 = Gpu("NVIDIA H100 80GB HBM3", "GPU-1", "9.0")


@dataclasses.dataclass(frozen=True)
class Facts:
    """A machine that can be varied one fact at a time."""

    torch: str = "2.13.0+cu128"
    torch_git: str = "cf30153c"
    cuda: str | None = "12.8"
    hip: str | None = None
    triton: str = "3.7.1"
    system: str = "linux"
    machine: str = "x86_64"
    flags: str = "fma avx2 avx512f avx512dq avx512bw avx512vl avx512_vnni"
    c_library: str = "glibc 2.36"
    gpu: Gpu | None = H100
    driver: str = "570.86.15"
    folder: Path | None = None
    variables: tuple[tuple[str, str], ...] = ()

    def environment(self) -> Environment:
        release = TorchRelease(
            Reading(self.torch, "torch/version.py"),
            Reading(self.torch_git, "torch/version.py"),
            self.cuda,
            self.hip,
            self.folder,
        )
        flags = frozenset(self.flags.split())
        return assemble(
            release=release,
            triton=Reading(self.triton, "triton's .dist-info"),
            cpu=Cpu(self.system, self.machine, flags, "/proc/cpuinfo flags", "this host"),
            c_library=Reading(self.c_library, "confstr"),
            found=FoundGpu(self.gpu, "NVML", self.driver),
            variables=dict(self.variables),
        )


ON_GPU = Facts()
ON_CPU = Facts(gpu=None)


def varied(facts: Facts, **changes: Any) -> Environment:
    return dataclasses.replace(facts, **changes).environment()


def names(fields: tuple[Field, ...]) -> list[str]:
    return [field.name for field in fields]


def changed(a: tuple[Field, ...], b: tuple[Field, ...]) -> list[str]:
    here, there = ([(field.name, field.value) for field in fields] for fields in (a, b))
    return [difference.name for difference in diff(here, there)]


def test_the_fields_of_a_gpu_environment_are_these_in_this_order() -> None:
    environment = ON_GPU.environment()
    assert names(environment.fields) == [
        "torch",
        "torch_git",
        "triton",
        "python",
        "python_abi",
        "os",
        "machine",
        "vector_isa",
        "device",
        "compute_capability",
        "cuda",
    ]
    assert environment.is_gpu


def test_the_fields_of_a_cpu_environment_end_with_its_flags_and_c_library() -> None:
    on_gpu, on_cpu = ON_GPU.environment(), ON_CPU.environment()
    assert on_cpu.fields[:8] == on_gpu.fields[:8]
    assert names(on_cpu.fields[8:]) == ["cpu_flags", "c_library"]
    assert not on_cpu.is_gpu


def test_a_rocm_environment_names_the_hip_version() -> None:
    rocm = varied(ON_GPU, cuda=None, hip="6.4.2", gpu=Gpu("AMD Instinct MI300X", "", "gfx942"))
    assert [(f.name, f.value) for f in rocm.fields[8:]] == [
        ("device", "AMD Instinct MI300X"),
        ("compute_capability", "gfx942"),
        ("hip", "6.4.2"),
    ]


@pytest.mark.parametrize("facts", [ON_GPU, ON_CPU])
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"torch": "2.13.1+cu128"}, "torch"),
        ({"torch_git": "cf30153d"}, "torch_git"),
        ({"triton": "3.7.2"}, "triton"),
        ({"machine": "aarch64", "flags": "asimd"}, "machine"),
        ({"flags": "avx2"}, "vector_isa"),
        ({"variables": (("ATEN_CPU_CAPABILITY", "avx2"),)}, "vector_isa"),
    ],
)
def test_a_difference_that_any_machine_can_have_changes_the_key(
    facts: Facts, changes: dict[str, object], field: str
) -> None:
    before, after = facts.environment(), varied(facts, **changes)
    assert before.key != after.key
    assert field in changed(before.fields, after.fields)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"gpu": dataclasses.replace(H100, name="NVIDIA H100 PCIe")}, "device"),
        ({"gpu": dataclasses.replace(H100, name=f"{H100.name} MIG 1g.10gb")}, "device"),
        ({"gpu": dataclasses.replace(H100, capability="9.1")}, "compute_capability"),
        ({"cuda": "12.9"}, "cuda"),
    ],
)
def test_another_gpu_or_cuda_changes_the_key(changes: dict[str, object], field: str) -> None:
    before, after = ON_GPU.environment(), varied(ON_GPU, **changes)
    assert before.key != after.key
    assert changed(before.fields, after.fields) == [field]


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"flags": ON_CPU.flags + " gfni"}, "cpu_flags"), ({"c_library": "glibc 2.39"}, "c_library")],
)
def test_the_flags_and_the_c_library_are_in_the_key_of_a_cpu_and_beside_that_of_a_gpu(
    changes: dict[str, object], field: str
) -> None:
    on_cpu, other_cpu = ON_CPU.environment(), varied(ON_CPU, **changes)
    on_gpu, other_gpu = ON_GPU.environment(), varied(ON_GPU, **changes)
    assert changed(on_cpu.fields, other_cpu.fields) == [field]
    assert on_cpu.key != other_cpu.key
    assert on_gpu.key == other_gpu.key
    assert changed(on_gpu.recorded, other_gpu.recorded) == [field]
    assert on_gpu.requirement == on_cpu.requirement
    assert other_gpu.requirement == other_cpu.requirement
    assert on_gpu.requirement != other_gpu.requirement


def test_python_and_the_operating_system_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {ON_GPU.environment().key}
    for name in ("python_implementation", "python_abi", "operating_system"):
        with monkeypatch.context() as patch:
            patch.setattr(versions, name, lambda: Reading("another", "a test"))
            keys.add(ON_GPU.environment().key)
    assert len(keys) == 4


@pytest.mark.parametrize("facts", [ON_GPU, ON_CPU])
def test_every_single_field_is_in_the_key(facts: Facts) -> None:
    environment = facts.environment()
    keys = {environment.key}
    for index, field in enumerate(environment.fields):
        for other in (
            dataclasses.replace(field, value=field.value + "x"),
            dataclasses.replace(field, name=field.name + "x"),
        ):
            fields = (*environment.fields[:index], other, *environment.fields[index + 1 :])
            keys.add(dataclasses.replace(environment, fields=fields).key)
    assert len(keys) == 1 + 2 * len(environment.fields)


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"driver": "580.1"}, "driver", "580.1"),
        ({"variables": (("OMP_NUM_THREADS", "3"),)}, "threads", "3"),
        ({"variables": (("OMP_NUM_THREADS", "5,2"),)}, "threads", "5"),
        ({"variables": (("MKL_NUM_THREADS", "7"),)}, "threads", "7"),
        ({"variables": (("CXX", "no-such-compiler"),)}, "cxx_compiler", "none"),
        (
            {"variables": (("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0"),)},
            "precompiled_headers",
            "off",
        ),
    ],
)
@pytest.mark.parametrize("facts", [ON_GPU, ON_CPU])
def test_what_causes_misses_only_is_recorded_beside_the_key(
    facts: Facts, changes: dict[str, object], field: str, value: str
) -> None:
    before, after = facts.environment(), varied(facts, **changes)
    assert before.key == after.key
    assert before.requirement == after.requirement
    assert {f.name: f.value for f in after.recorded}[field] == value
    if field != "cxx_compiler":  # there may be none on this machine
        assert field in changed(before.recorded, after.recorded)


def test_a_fact_that_an_older_release_did_not_record_is_no_difference() -> None:
    environment = ON_CPU.environment()
    stored = {item.name: item.value for item in environment.recorded}
    assert recorded_differences(environment, stored.items()) == ()
    here = stored.pop("python_include")
    assert recorded_differences(environment, stored.items()) == ()
    assert recorded_differences(environment, [("python_include", "/opt/include")]) == (
        Difference("python_include", here, "/opt/include"),
    )


def test_the_site_packages_are_recorded_beside_the_key(tmp_path: Path) -> None:
    there = varied(ON_GPU, folder=tmp_path / "torch")
    assert {f.name: f.value for f in there.recorded}["site_packages"] == str(tmp_path)
    assert there.key == ON_GPU.environment().key


def test_the_key_of_given_fields_never_changes() -> None:
    fields = (Field("torch", "2.13.0", "anywhere"), Field("device", "Gerät \N{MICRO SIGN}", "NVML"))
    environment = Environment(fields, recorded=(), requirement="0" * 16)
    assert environment.key == "066cb65795800315d4eef2bcb84a221a"
    moved = tuple(dataclasses.replace(field, source="elsewhere") for field in fields)
    assert dataclasses.replace(environment, fields=moved).key == environment.key
    assert dataclasses.replace(environment, fields=fields[::-1]).key != environment.key


def test_keys_and_requirements_are_lower_case_hex_of_a_fixed_length() -> None:
    for facts in (ON_GPU, ON_CPU):
        environment = facts.environment()
        for text, length in ((environment.key, 32), (environment.requirement, 16)):
            assert len(text) == length
            assert set(text) <= set("0123456789abcdef")


def test_machines_whose_flags_cannot_be_read_are_parted() -> None:
    unreadable = varied(ON_CPU, flags="")
    assert unreadable.key != varied(ON_CPU, flags="avx2").key
    assert "unknown (this host)" in [field.value for field in unreadable.fields]


@pytest.mark.parametrize("facts", [ON_GPU, ON_CPU])
def test_explain_shows_every_field_with_its_value_and_source(facts: Facts) -> None:
    environment = facts.environment()
    text = environment.explain()
    rows = [line.split() for line in text.splitlines()]
    for field in environment.fields + environment.recorded:
        words = f"{field.name} {field.value} {field.source}".split()
        assert words in rows, field
    assert environment.key in text
    assert environment.requirement in text
    order = [text.index(f"\n  {field.name} ") for field in environment.fields]
    assert order == sorted(order)


def test_diff_names_the_fields_that_differ_and_those_only_one_has() -> None:
    here = [("torch", "2.13.0"), ("triton", "3.7.1"), ("device", "L4")]
    there = [("triton", "3.7.0"), ("torch", "2.13.0"), ("cpu_flags", "ab12")]
    assert diff(here, there) == (
        Difference("triton", "3.7.1", "3.7.0"),
        Difference("device", "L4", None),
        Difference("cpu_flags", None, "ab12"),
    )
    assert diff(here, here) == ()
    assert diff(iter(here), iter(here[::-1])) == ()


def test_only_the_given_variables_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Environment.detect({})
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("OMP_NUM_THREADS", "1234")
    monkeypatch.setenv("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Environment.detect({}) == environment


FORBIDDEN = """
import os, subprocess, sys
def fail(*args, **kwargs): raise SystemExit("a process was started")
sys.addaudithook(lambda event, args: fail() if event in EVENTS else None)
from b10_transfer.machine.environment import Environment
environment = Environment.detect(os.environ)
assert environment.key
slow = sorted({"torch", "triton", "importlib.metadata", "numpy"} & set(sys.modules))
raise SystemExit(f"imported {slow}" if slow else 0)
""".replace("EVENTS", "{'subprocess.Popen', 'os.system', 'os.fork', 'os.exec', 'os.posix_spawn'}")


def test_detecting_imports_nothing_slow_and_starts_no_process() -> None:
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDEN],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
