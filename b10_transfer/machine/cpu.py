"""The instruction sets of this machine's CPU, and the one that Inductor chooses.

Inductor writes the number of lanes into the C++ that it generates, and has the instruction set in
none of its own cache keys. An entry that was made for AVX-512 is a hit on an AVX2 machine, and
computes wrong numbers there. So the instruction set is part of every environment key.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from b10_transfer.machine.versions import NONE, UNKNOWN, Reading, raise_unless_absent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CPU_INFO = Path("/proc/cpuinfo")

# The line of /proc/cpuinfo that lists what the CPU can execute: x86 `flags`, Arm `Features`,
# s390x `features`, RISC-V `isa`; POWER names only the model, as `cpu`.
_CPU_FLAG_LINES = frozenset({"flags", "features", "isa", "cpu"})

# x86 flags by which no compiler chooses instructions, and which vary with the kernel: they would
# separate machines whose code is interchangeable. All others count: an unknown flag must separate
# machines.
_CLOCKS_AND_POWER = """
    acpi aperfmperf arat art constant_tsc cpb cppc dtherm epb est hw_pstate hwp hwp_act_window
    hwp_epp hwp_notify hwp_pkg_req ida nonstop_tsc nonstop_tsc_s3 pln pts tm tm2 tsc_adjust
    tsc_deadline_timer tsc_known_freq tsc_reliable
"""
_COUNTERS = """
    amd_lbr_pmc_freeze amd_lbr_v2 arch_lbr arch_perfmon bpext brs bts cat_l2 cat_l3 cdp_l2 cdp_l3
    cqm cqm_llc cqm_mbm_local cqm_mbm_total cqm_occup_llc ds ds_cpl dtes64 ibs intel_pt mba pdcm
    pebs perfctr_core perfctr_llc perfctr_nb perfmon_v2 ptsc rdt_a
"""
_VIRTUALISATION = """
    avic debug_swap decodeassists ept ept_ad flexpriority flushbyasid hypervisor lbrv npt nrip_save
    pausefilter pfthreshold sev sev_es sev_snp skinit sme svm svm_lock tpr_shadow tsc_scale
    v_spec_ctrl v_vmsave_vmload vgif vmcb_clean vmmcall vmx vnmi vpid x2avic
"""
_MITIGATIONS = """
    arch_capabilities core_capabilities flush_l1d ibpb ibpb_exit_to_user ibrs ibrs_enhanced
    invpcid_single kaiser md_clear pti retpoline retpoline_amd rsb_ctxsw ssbd stibp tsx_force_abort
    virt_ssbd
"""
_PLATFORM = """
    amd_dcm apic bus_lock_detect cpuid cpuid_fault cr8_legacy extapic extd_apicid intel_ppin mca
    mce nopl overflow_recov pbe rep_good smca split_lock_detect succor wdt x2apic xtopology
"""
_NOT_INSTRUCTIONS = frozenset(
    " ".join((_CLOCKS_AND_POWER, _COUNTERS, _VIRTUALISATION, _MITIGATIONS, _PLATFORM)).split()
)

_X86_MACHINES = frozenset({"x86_64", "AMD64"})

# From the widest down, each with torch's name and the flags of /proc/cpuinfo that it needs.
# Releases of torch disagree about AVX-512 without all of its parts, so that has its own name.
_AVX512 = frozenset({"avx512f", "avx512dq", "avx512vl", "avx512bw"})
_AVX512_VNNI = _AVX512 | {"avx512_vnni"}
_X86 = (
    ("avx512 avx512_vnni amx_tile", _AVX512_VNNI | {"amx_tile"}),
    ("avx512 avx512_vnni", _AVX512_VNNI),
    ("avx512", _AVX512),
    ("avx512 (incomplete)", frozenset({"avx512f"})),
    ("avx2", frozenset({"avx2"})),
)

# Instruction sets that are known without flags.
_BY_PLATFORM = {("darwin", "arm64"): "asimd", ("linux", "ppc64le"): "vsx"}

# The values of ATEN_CPU_CAPABILITY that Inductor follows, beside `default`; it ignores others.
_CAPABILITIES = frozenset({"zvector", "vsx", "avx2", "avx512"})


class Cpu(NamedTuple):
    """The CPU of a machine: what it can execute."""

    system: str
    """The operating system, as ``sys.platform`` names it: linux, darwin, win32."""
    machine: str
    """The architecture, as ``platform.machine()`` names it: x86_64, aarch64."""
    flags: frozenset[str]
    """Instruction-set flags; empty when they cannot be read."""
    source: str
    """Where the flags were read."""
    identity: str
    """The name of this CPU when it has no flags: to share with nobody is better than wrong code."""
    sve_bits: int | None = None
    """The bits of an SVE vector in this process; None without SVE."""
    amx_permitted: bool = False
    """Whether the kernel lets a process use AMX tiles; it may list the flag and refuse."""


def read_cpu(variables: Mapping[str, str]) -> Cpu:
    """Return the CPU of this machine."""
    try:
        with _CPU_INFO.open(encoding="utf-8", errors="replace") as lines:
            flags, source = cpu_flags(lines), f"{_CPU_INFO} flags"
    except OSError as error:
        raise_unless_absent(error)
        flags, source = frozenset[str](), f"{_CPU_INFO} cannot be read: {error.strerror}"
    return Cpu(
        system=sys.platform,
        machine=platform.machine(),
        flags=flags,
        source=source,
        identity=variables.get("PROCESSOR_IDENTIFIER") or platform.node(),
        sve_bits=_sve_bits() if flags & {"sve", "sve2"} else None,
        amx_permitted="amx_tile" in flags and _amx_permitted(),
    )


def cpu_flags(lines: Iterable[str]) -> frozenset[str]:
    """Return the instruction-set flags of the first processor in a /proc/cpuinfo.

    Reading stops there, because the kernel writes the file while it is read, which takes long on a
    machine with hundreds of CPUs.
    """
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() in _CPU_FLAG_LINES:
            return frozenset(value.split()) - _NOT_INSTRUCTIONS
    return frozenset()


def vector_isa(cpu: Cpu, variables: Mapping[str, str]) -> Reading:
    """Return the instruction set Inductor would pick; ``none`` is its INVALID_VEC_ISA, scalar code.

    The rules are those of ``torch/_inductor/cpu_vec_isa.py`` (``valid_vec_isa_list``,
    ``pick_vec_isa``) without its trial compilations, so a compiler that is too old for an
    instruction set is not noticed. A value may distinguish more than torch does, never less.
    ``torch._inductor.config.cpp.simdlen`` changes the choice too, but only from within Python, and
    Inductor's own keys contain it.
    """
    available, source = _available(cpu, variables)
    capability = variables.get("ATEN_CPU_CAPABILITY", "")
    if not available:
        return Reading(NONE, source)
    if capability == "default":
        return Reading(NONE, "ATEN_CPU_CAPABILITY=default")
    if capability in _CAPABILITIES:
        for name in available:
            if capability in name:
                return Reading(name, f"{source}, ATEN_CPU_CAPABILITY={capability}")
    return Reading(available[0], source)


def _available(cpu: Cpu, variables: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """Return the available instruction sets, the preferred one first, and where they were read."""
    by_flags = {"aarch64": _arm, "s390x": _z, **dict.fromkeys(_X86_MACHINES, _x86)}
    if cpu.system not in {"linux", "win32"} or cpu.machine not in by_flags:
        known = _BY_PLATFORM.get((cpu.system, cpu.machine))
        return (known,) if known else (), "platform.machine()"
    if cpu.machine in _X86_MACHINES and variables.get("TORCHINDUCTOR_VEC_ISA_OK") == "0":
        return (), "TORCHINDUCTOR_VEC_ISA_OK=0"
    if not cpu.flags:
        # The result of the request is unknown, so the request itself separates environments.
        request = variables.get("ATEN_CPU_CAPABILITY", "any")
        return (f"{UNKNOWN} ({request} of {cpu.identity})",), cpu.source
    return by_flags[cpu.machine](cpu), cpu.source


def _x86(cpu: Cpu) -> tuple[str, ...]:
    flags = cpu.flags if cpu.amx_permitted else cpu.flags - {"amx_tile"}
    return tuple(name for name, needed in _X86 if needed <= flags)


def _arm(cpu: Cpu) -> tuple[str, ...]:
    """Return SVE with its length, although torch calls it asimd, since its lanes are not NEON's."""
    if cpu.flags & {"sve", "sve2"} and "bf16" in cpu.flags:
        return (f"sve {cpu.sve_bits or f'{UNKNOWN} of {cpu.identity}'}",)
    return ("asimd",)


def _z(cpu: Cpu) -> tuple[str, ...]:
    return ("zvector",) if "vxe" in cpu.flags else ()


def _sve_bits() -> int | None:
    """Return this process' SVE vector length by prctl(PR_SVE_GET_VL), as torch's cpuinfo does."""
    get_length, length_mask = 51, 0xFFFF
    try:
        answer = int(ctypes.CDLL(None).prctl(get_length))
    except (OSError, AttributeError):
        return None
    return (answer & length_mask) * 8 if answer > 0 else None


def _amx_permitted() -> bool:
    """Return whether the kernel grants AMX tile data, asked without requesting it.

    torch requests it (``aten/src/ATen/cpu/Utils.cpp``, ``init_amx``), and does without AMX if
    refused. Here only ARCH_GET_XCOMP_SUPP is called, which changes nothing.
    """
    arch_prctl, get_supported, tile_data = 158, 0x1021, 1 << 18
    features = ctypes.c_uint64(0)
    try:
        answer = int(ctypes.CDLL(None).syscall(arch_prctl, get_supported, ctypes.byref(features)))
    except (OSError, AttributeError):
        return False
    return answer == 0 and bool(features.value & tile_data)
