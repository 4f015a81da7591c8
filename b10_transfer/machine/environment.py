"""The environment key: which machines may share compiled artifacts.

A key is computed in the same way whether or not torch has been imported. It is made of ordered,
named fields, each with the place where it was read. Two machines share artifacts only if all fields
are equal. A strict key costs no storage, since equal artifacts of different environments are stored
once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from b10_transfer.machine import versions as versions
from b10_transfer.machine.cpu import Cpu, read_cpu, vector_isa
from b10_transfer.machine.gpus import FoundGpu, first_gpu
from b10_transfer.machine.versions import NONE, UNKNOWN, Reading, TorchRelease

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_KEY_DIGITS = 32
_REQUIREMENT_DIGITS = 16
_GPU_FIELD = "device"


@dataclass(frozen=True, slots=True)
class Field:
    """One fact of an environment."""

    name: str
    value: str
    source: str
    """Where it was read, such as ``torch/version.py`` or ``/proc/cpuinfo flags``, or why it is
    unknown."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which two environments differ; None when one of them does not have it."""

    name: str
    here: str | None
    there: str | None


@dataclass(frozen=True, slots=True)
class Environment:
    """The facts of this machine that a compiler's output depends on."""

    fields: tuple[Field, ...]
    """The fields of the key, in order."""
    recorded: tuple[Field, ...]
    """Fields that are kept beside the key: a difference may cause misses, never wrong results."""
    requirement: str
    """The host requirement of native code (``*.so``, headers): 16 hex digits for the CPU's flags
    and the C library. Machines with the same GPU share all other artifacts; without a GPU the key
    covers both."""
    instructions: frozenset[str] = frozenset()
    """The flags of the CPU; empty when they are not known."""

    @classmethod
    def detect(cls, variables: Mapping[str, str]) -> Environment:
        """Read the environment of this process.

        This imports no torch, initialises no GPU and starts no process. Only for a GPU that neither
        NVML nor procfs knows (ROCm), torch is asked.

        Args:
            variables: the environment variables of the process that compiles.

        Raises:
            OSError: a fact that the key depends on cannot be read at the moment.
        """
        versions.require_descriptors()
        release = versions.torch_release()
        return assemble(
            release=release,
            triton=versions.triton_version(),
            cpu=read_cpu(variables),
            c_library=versions.c_library(),
            found=first_gpu(release, variables),
            variables=variables,
        )

    @property
    def key(self) -> str:
        """The environment key: the address of this environment's manifests, 32 hex digits.

        It is the beginning of the BLAKE3 of the fields as JSON: a list of [name, value] in order,
        without spaces, with non-ASCII characters escaped.
        """
        return _hashed([[field.name, field.value] for field in self.fields], _KEY_DIGITS)

    @property
    def is_gpu(self) -> bool:
        """Whether torch would run on a GPU here."""
        return any(field.name == _GPU_FIELD for field in self.fields)

    @property
    def vector_isa(self) -> str:
        """The instruction set that Inductor would pick."""
        return next((item.value for item in self.fields if item.name == "vector_isa"), UNKNOWN)

    def explain(self) -> str:
        """Return a text table of all fields and where each was read."""
        rows = [("field", "value", "read from")]
        rows += [(field.name, field.value, field.source) for field in self.fields]
        beside = [(field.name, field.value, field.source) for field in self.recorded]
        beside.append(("requirement", self.requirement, "CPU flags and C library, for native code"))
        widths = [max(len(row[column]) for row in rows + beside) for column in (0, 1)]

        def lines(table: list[tuple[str, str, str]]) -> list[str]:
            return [
                f"  {name:<{widths[0]}}  {value:<{widths[1]}}  {source}"
                for name, value, source in table
            ]

        return "\n".join(
            [
                f"environment key {self.key}",
                *lines(rows),
                "recorded beside the key (a difference may cause misses, never wrong results)",
                *lines(beside),
            ]
        )


def diff(a: Iterable[tuple[str, str]], b: Iterable[tuple[str, str]]) -> tuple[Difference, ...]:
    """Return the fields in which two environments differ, in the order of `a`, then of `b`.

    Args:
        a: the (name, value) pairs of the environment here.
        b: those of another environment, such as the ones that a manifest stores.
    """
    here, there = dict(a), dict(b)
    return tuple(
        Difference(name, here.get(name), there.get(name))
        for name in here | there
        if here.get(name) != there.get(name)
    )


def assemble(
    *,
    release: TorchRelease,
    triton: Reading,
    cpu: Cpu,
    c_library: Reading,
    found: FoundGpu,
    variables: Mapping[str, str],
) -> Environment:
    """Return the environment that these facts make."""
    shared = (
        Field("torch", *release.version),
        Field("torch_git", *release.git_version),
        Field("triton", *triton),
        Field("python", *versions.python_implementation()),
        Field("python_abi", *versions.python_abi()),
        Field("os", *versions.operating_system()),
        Field("machine", cpu.machine, "platform.machine()"),
        Field("vector_isa", *vector_isa(cpu, variables)),
    )
    recorded = (
        Field("threads", *versions.thread_count(variables)),
        Field("site_packages", *versions.site_packages(release)),
        Field("python_include", *versions.python_include()),
        Field("driver", found.driver, found.source),
        Field("cxx_compiler", *versions.cxx_compiler(variables)),
        Field("precompiled_headers", *versions.precompiled_headers(variables)),
    )
    native = (_cpu_flags(cpu), Field("c_library", *c_library))
    gpu = _gpu_fields(release, found)
    return Environment(
        fields=shared + (gpu or native),
        recorded=recorded + (native if gpu else ()),
        requirement=_hashed([field.value for field in native], _REQUIREMENT_DIGITS),
        instructions=cpu.flags,
    )


def _cpu_flags(cpu: Cpu) -> Field:
    if not cpu.flags:
        return Field("cpu_flags", f"{UNKNOWN} ({cpu.identity})", cpu.source)
    return Field("cpu_flags", _hashed(sorted(cpu.flags), _REQUIREMENT_DIGITS), cpu.source)


def _gpu_fields(release: TorchRelease, found: FoundGpu) -> tuple[Field, ...]:
    if found.gpu is None:
        return ()
    runtime = "cuda" if release.hip is None else "hip"
    version = release.cuda if release.hip is None else release.hip
    return (
        Field(_GPU_FIELD, found.gpu.name, found.source),
        Field("compute_capability", found.gpu.capability, found.source),
        Field(runtime, version or NONE, release.version.source),
    )


def _hashed(value: list[list[str]] | list[str], digits: int) -> str:
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return blake3(text.encode("ascii")).hexdigest()[:digits]
