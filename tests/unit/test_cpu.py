from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from b10_transfer.machine.cpu import Cpu, cpu_flags, read_cpu, vector_isa

HASWELL = "fpu sse2 ssse3 fma avx f16c avx2 bmi2"
KNIGHTS_LANDING = f"{HASWELL} avx512f avx512cd"
SKYLAKE = f"{HASWELL} avx512f avx512dq avx512bw avx512vl"
ICE_LAKE = f"{SKYLAKE} avx512_vnni"
SAPPHIRE_RAPIDS = f"{ICE_LAKE} avx512_bf16 amx_bf16 amx_tile amx_int8"
NEHALEM = "fpu sse2 ssse3 sse4_2"

GRAVITON_2 = "fp asimd atomics asimdhp asimddp"
GRAVITON_3 = f"{GRAVITON_2} sve bf16 svebf16"
GRACE = f"{GRAVITON_3} sve2"


def a_cpu(
    flags: str,
    *,
    system: str = "linux",
    machine: str = "x86_64",
    sve_bits: int | None = None,
    amx_permitted: bool = True,
    identity: str = "this host",
) -> Cpu:
    return Cpu(
        system=system,
        machine=machine,
        flags=frozenset(flags.split()),
        source="/proc/cpuinfo flags",
        identity=identity,
        sve_bits=sve_bits,
        amx_permitted=amx_permitted,
    )


def isa(cpu: Cpu, **variables: str) -> str:
    return vector_isa(cpu, variables).value


@pytest.mark.parametrize(
    ("flags", "picked"),
    [
        (NEHALEM, "none"),
        (HASWELL, "avx2"),
        (SKYLAKE, "avx512"),
        (ICE_LAKE, "avx512 avx512_vnni"),
        (SAPPHIRE_RAPIDS, "avx512 avx512_vnni amx_tile"),
    ],
)
def test_the_widest_instruction_set_of_an_x86_cpu_is_picked(flags: str, picked: str) -> None:
    assert isa(a_cpu(flags)) == picked
    assert isa(a_cpu(flags, system="win32", machine="AMD64")) == picked


def test_amx_that_the_kernel_refuses_is_not_picked() -> None:
    assert isa(a_cpu(SAPPHIRE_RAPIDS, amx_permitted=False)) == "avx512 avx512_vnni"


def test_a_cpu_with_only_a_part_of_avx512_is_neither_an_avx512_nor_an_avx2_one() -> None:
    others = {isa(a_cpu(flags)) for flags in (HASWELL, SKYLAKE, ICE_LAKE)}
    assert isa(a_cpu(KNIGHTS_LANDING)) not in others


@pytest.mark.parametrize(
    ("flags", "capability", "picked"),
    [
        (ICE_LAKE, "avx512", "avx512 avx512_vnni"),
        (SAPPHIRE_RAPIDS, "avx512", "avx512 avx512_vnni amx_tile"),
        (ICE_LAKE, "avx2", "avx2"),
        (ICE_LAKE, "default", "none"),
        (ICE_LAKE, "", "avx512 avx512_vnni"),
        (ICE_LAKE, "AVX2", "avx512 avx512_vnni"),
        (ICE_LAKE, "avx512_vnni", "avx512 avx512_vnni"),
        (ICE_LAKE, "vsx", "avx512 avx512_vnni"),
        (HASWELL, "avx512", "avx2"),
        (NEHALEM, "avx2", "none"),
    ],
)
def test_aten_cpu_capability_chooses_among_what_the_cpu_has(
    flags: str, capability: str, picked: str
) -> None:
    assert isa(a_cpu(flags), ATEN_CPU_CAPABILITY=capability) == picked


def test_a_capability_that_decides_is_named_as_the_source() -> None:
    for capability in ("avx2", "default"):
        variables = {"ATEN_CPU_CAPABILITY": capability}
        assert f"ATEN_CPU_CAPABILITY={capability}" in vector_isa(a_cpu(ICE_LAKE), variables).source


def test_vec_isa_ok_can_turn_vector_code_off_on_x86_only() -> None:
    assert isa(a_cpu(ICE_LAKE), TORCHINDUCTOR_VEC_ISA_OK="0") == "none"
    assert isa(a_cpu(ICE_LAKE), TORCHINDUCTOR_VEC_ISA_OK="1") == "avx512 avx512_vnni"
    assert isa(a_cpu(GRAVITON_2, machine="aarch64"), TORCHINDUCTOR_VEC_ISA_OK="0") == "asimd"


@pytest.mark.parametrize(
    ("flags", "bits", "picked"),
    [
        (GRAVITON_2, None, "asimd"),
        (GRAVITON_3, 256, "sve 256"),
        (GRACE, 128, "sve 128"),
        (GRAVITON_2 + " sve", 512, "asimd"),
    ],
)
def test_an_arm_cpu_is_told_apart_by_sve_with_bf16_and_by_its_length(
    flags: str, bits: int | None, picked: str
) -> None:
    cpu = a_cpu(flags, machine="aarch64", sve_bits=bits)
    assert isa(cpu) == picked
    assert isa(cpu, ATEN_CPU_CAPABILITY="avx2") == picked
    assert isa(cpu, ATEN_CPU_CAPABILITY="default") == "none"


@pytest.mark.parametrize(
    ("system", "machine", "flags", "picked"),
    [
        ("linux", "ppc64le", "POWER9", "vsx"),
        ("linux", "s390x", "esan3 vx vxe", "zvector"),
        ("linux", "s390x", "esan3 vx", "none"),
        ("linux", "riscv64", "rv64imafdcv", "none"),
        ("darwin", "arm64", "", "asimd"),
        ("darwin", "x86_64", HASWELL, "none"),
        ("win32", "ARM64", "", "none"),
    ],
)
def test_other_platforms_have_what_inductor_has_for_them(
    system: str, machine: str, flags: str, picked: str
) -> None:
    assert isa(a_cpu(flags, system=system, machine=machine)) == picked


def test_a_cpu_without_readable_flags_shares_with_nobody_else() -> None:
    here, there = a_cpu("", identity="here"), a_cpu("", identity="there")
    assert isa(here) != isa(there)
    assert isa(here) != isa(here, ATEN_CPU_CAPABILITY="avx2")
    assert isa(here).startswith("unknown")
    sve = [a_cpu(GRACE, machine="aarch64", identity=name) for name in ("here", "there")]
    assert isa(sve[0]) != isa(sve[1])


def test_flags_are_those_of_the_first_processor() -> None:
    text = [
        "processor\t: 0\n",
        "model name\t: Some CPU\n",
        "cpu cores\t: 2\n",
        "flags\t\t: fpu avx2 fma\n",
        "processor\t: 1\n",
        "flags\t\t: fpu avx512f\n",
    ]
    assert cpu_flags(text) == {"fpu", "avx2", "fma"}


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("Features\t: fp asimd sve", {"fp", "asimd", "sve"}),
        ("features\t: esan3 vx vxe", {"esan3", "vx", "vxe"}),
        ("isa\t\t: rv64imafdcv", {"rv64imafdcv"}),
        ("cpu\t\t: POWER9", {"POWER9"}),
        ("cpu family\t: 26", set[str]()),
    ],
)
def test_flags_are_found_under_the_name_each_architecture_has_for_them(
    line: str, flags: set[str]
) -> None:
    assert cpu_flags(["processor : 0", line]) == flags


def test_flags_of_clocks_and_mitigations_do_not_part_machines_but_unheard_of_ones_do() -> None:
    bare = cpu_flags(["flags : fpu avx2 bmi2"])
    assert cpu_flags(["flags : fpu avx2 bmi2 hypervisor constant_tsc ibrs md_clear svm"]) == bare
    assert cpu_flags(["flags : fpu avx2 bmi2 avx1024_tensor"]) != bare


def test_every_flag_that_decides_the_vector_isa_survives_the_filter() -> None:
    for flags in (SAPPHIRE_RAPIDS, GRACE, "vxe", KNIGHTS_LANDING):
        assert cpu_flags([f"flags : {flags}"]) == frozenset(flags.split())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_this_cpu_is_read_as_the_kernel_describes_it() -> None:
    cpu = read_cpu(os.environ)
    assert (cpu.system, cpu.machine) == (sys.platform, platform.machine())
    words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    assert cpu.flags
    assert cpu.flags <= words
    assert cpu.source == "/proc/cpuinfo flags"
