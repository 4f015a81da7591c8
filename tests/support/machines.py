"""Machines that differ in chosen facts: the environment that each of them would find."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from b10_transfer import Environment
from b10_transfer.machine import versions as versions
from b10_transfer.machine.cpu import Cpu
from b10_transfer.machine.environment import assemble
from b10_transfer.machine.gpus import FoundGpu, Gpu
from b10_transfer.machine.versions import Reading, TorchRelease

if TYPE_CHECKING:
    from collections.abc import Generator


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine is made of, as far as an environment depends on it.

    Attributes:
        torch: version; likewise triton, and cuda and hip, for which torch was built.
        torch_git: revision of torch.
        python: implementation; python_abi: its ABI tag.
        system: operating system; machine: architecture.
        flags: of the CPU, separated by blanks.
        capability: ATEN_CPU_CAPABILITY; "" when it is not set.
        c_library: name and version.
        gpu: name of the GPU; "" for none. compute: its compute capability.
        driver: of the GPU; threads: for torch to use; site_packages: where torch is installed;
            include: where Python's headers are; compiler: the one for C++; headers: whether
            Inductor precompiles its header.
    """

    torch: str = "2.13.0"
    torch_git: str = "cf30153c"
    triton: str = "3.7.1"
    python: str = "CPython"
    python_abi: str = "cpython-312-x86_64-linux-gnu"
    system: str = "Linux"
    machine: str = "x86_64"
    flags: str = "fma avx2 avx512f avx512dq avx512bw avx512vl avx512_vnni"
    capability: str = ""
    c_library: str = "glibc 2.36"
    gpu: str = ""
    compute: str = "9.0"
    cuda: str | None = None
    hip: str | None = None
    driver: str = "none"
    threads: str = "8"
    site_packages: str = "/usr/lib/python3/site-packages"
    include: str = "/usr/include/python3.12"
    compiler: str = "/usr/bin/g++-12"
    headers: str = "on"

    def but(self, **changes: Any) -> Machine:
        """The same machine with some facts changed."""
        return replace(self, **changes)

    def environment(self) -> Environment:
        """The environment that a process of this machine finds."""
        read = {
            "python_implementation": self.python,
            "python_abi": self.python_abi,
            "operating_system": self.system,
            "thread_count": self.threads,
            "site_packages": self.site_packages,
            "python_include": self.include,
            "cxx_compiler": self.compiler,
            "precompiled_headers": self.headers,
        }
        with contextlib.ExitStack() as patches:
            for name, value in read.items():
                found = mock.Mock(return_value=_reading(value))
                patches.enter_context(mock.patch.object(versions, name, found))
            return self._assembled()

    def _assembled(self) -> Environment:
        version, revision = _reading(self.torch), _reading(self.torch_git)
        gpu = Gpu(self.gpu, "", self.compute) if self.gpu else None
        return assemble(
            release=TorchRelease(version, revision, self.cuda, self.hip, Path(self.site_packages)),
            triton=_reading(self.triton),
            cpu=Cpu("linux", self.machine, frozenset(self.flags.split()), "a test", "a host"),
            c_library=_reading(self.c_library),
            found=FoundGpu(gpu, "a test", self.driver),
            variables={"ATEN_CPU_CAPABILITY": self.capability} if self.capability else {},
        )


CPU_MACHINE = Machine(torch="2.13.0+cpu")
GPU_MACHINE = Machine(
    torch="2.13.0+cu128", cuda="12.8", gpu="NVIDIA H100 80GB HBM3", driver="570.86.15"
)


@contextlib.contextmanager
def running_on(machine: Machine | Environment) -> Generator[Environment]:
    """Let every operation of this process find the environment of a machine."""
    environment = machine.environment() if isinstance(machine, Machine) else machine
    with mock.patch.object(Environment, "detect", mock.Mock(return_value=environment)):
        yield environment


def _reading(value: str) -> Reading:
    return Reading(value, "a test")
