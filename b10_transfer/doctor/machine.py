"""Findings about this host: its Python, devices and tools, and the compilers' switches."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from b10_transfer.doctor.findings import note, problem
from b10_transfer.machine import versions as versions
from b10_transfer.machine.checks import find_missing_tools
from b10_transfer.machine.versions import NONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from b10_transfer.doctor.findings import Finding
    from b10_transfer.machine.environment import Environment

_SUBJECT = "machine"

_ON = frozenset({"1", "true", "yes", "on", "y"})
_SWITCHES = (
    ("TORCHINDUCTOR_FORCE_DISABLE_CACHES", _ON, "torch uses none of its caches"),
    ("TORCH_COMPILE_FORCE_DISABLE_CACHES", _ON, "torch uses none of its caches"),
    ("TORCHINDUCTOR_FX_GRAPH_CACHE", frozenset({"0"}), "Inductor compiles every graph again"),
    ("TORCHINDUCTOR_AUTOGRAD_CACHE", frozenset({"0"}), "AOTAutograd traces every graph again"),
    ("TORCH_COMPILE_DISABLE", frozenset({"1"}), "torch.compile does nothing"),
    ("TRITON_ALWAYS_COMPILE", _ON, "Triton compiles every kernel again"),
    ("VLLM_DISABLE_COMPILE_CACHE", frozenset({"1"}), "vLLM compiles again at each start"),
)
"""Each variable, the values that turn caching off, and their effect.

As torch/compiler/config.py, torch/_inductor/config.py, torch/_functorch/config.py,
torch/_dynamo/config.py, triton/knobs.py and vllm/envs.py read them.
"""


def version_findings(environment: Environment) -> Iterator[Finding]:
    """Report a Python without torch, which cannot be the one that runs the server."""
    if any(item.name == "torch" and item.value == NONE for item in environment.fields):
        yield problem(
            "host.no_torch",
            _SUBJECT,
            f"torch is not installed for {sys.executable}",
            "run this with the Python that runs the server, since its versions decide what is "
            "loaded",
        )


def device_findings(environment: Environment) -> Iterator[Finding]:
    """Report that torch is built for GPUs but sees none."""
    if any(item.name == "device" for item in environment.fields):
        return
    driver = next(item for item in environment.recorded if item.name == "driver")
    release = versions.torch_release()
    runtime = next((name for name in ("cuda", "hip") if getattr(release, name)), None)
    if runtime is not None:
        yield note(
            "host.no_gpu",
            _SUBJECT,
            f"torch is built for {runtime.upper()} {getattr(release, runtime)}, but sees no GPU "
            f"({driver.source}): the environment key is that of a machine without one",
            "if there should be one, check CUDA_VISIBLE_DEVICES, the driver, and whether the "
            "container has the GPU: without it, nothing that was saved on a GPU is found",
            source=driver.source,
        )


def switch_findings(variables: Mapping[str, str]) -> Iterator[Finding]:
    """Report switches of the compilers that make every cache useless."""
    for name, values, effect in _SWITCHES:
        value = variables.get(name, "").strip().lower()
        if value in values:
            yield problem(
                "host.caching_off",
                _SUBJECT,
                f"{name}={variables[name]}: {effect}, loaded or not",
                f"unset {name}",
                name=name,
                value=variables[name],
            )


def tool_findings(variables: Mapping[str, str], paths: Iterable[str]) -> Iterator[Finding]:
    """Report missing programs that Inductor runs before it uses even a compiled kernel.

    Args:
        variables: of the process that compiles.
        paths: the artifacts that are here, or will be.
    """
    for name, lack in find_missing_tools(variables, paths).items():
        yield problem("host.missing_tool", _SUBJECT, lack.fact, lack.advice, tool=name)
