"""What `doctor` says of this host: versions, devices, tools, and switches of the compilers."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import TYPE_CHECKING

from b10_transfer.doctor.findings import note, ok, problem
from b10_transfer.machine import versions as probes
from b10_transfer.machine.checks import find_missing_tools
from b10_transfer.machine.versions import NONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from b10_transfer.doctor.findings import Code, Finding
    from b10_transfer.machine.environment import Environment, Field

_SUBJECT = "machine"

_ON = frozenset({"1", "true", "yes", "on", "y"})
_SWITCHES = (
    ("TORCHINDUCTOR_FORCE_DISABLE_CACHES", _ON, "torch uses none of its caches"),
    ("TORCH_COMPILE_FORCE_DISABLE_CACHES", _ON, "torch uses none of its caches"),
    ("TORCHINDUCTOR_FX_GRAPH_CACHE", frozenset({"0"}), "Inductor compiles every graph anew"),
    ("TORCHINDUCTOR_AUTOGRAD_CACHE", frozenset({"0"}), "AOTAutograd traces every graph anew"),
    ("TORCH_COMPILE_DISABLE", frozenset({"1"}), "torch.compile does nothing"),
    ("TRITON_ALWAYS_COMPILE", _ON, "Triton compiles every kernel anew"),
    ("VLLM_DISABLE_COMPILE_CACHE", frozenset({"1"}), "vLLM compiles anew at each start"),
)
"""Variable, the values that do it, and what they do.

As torch/compiler/config.py, torch/_inductor/config.py, torch/_functorch/config.py,
torch/_dynamo/config.py, triton/knobs.py and vllm/envs.py read them.
"""


def version_findings(environment: Environment) -> Iterator[Finding]:
    """What is installed, and what it comes to: the environment key."""
    values = {item.name: item.value for item in environment.fields}
    yield ok(
        "host.versions",
        _SUBJECT,
        f"b10-transfer {_own_version()}, torch {values['torch']}, triton {values['triton']}, "
        f"{values['python']} {sys.version.split()[0]} ({sys.executable})",
        b10_transfer=_own_version(),
        python_version=sys.version.split()[0],
        executable=sys.executable,
        torch=values["torch"],
        triton=values["triton"],
    )
    if values["torch"] == NONE:
        yield problem(
            "host.no_torch",
            _SUBJECT,
            f"torch is not installed for {sys.executable}",
            "run this with the Python that runs the server: what is stored depends on its versions",
        )
    yield ok(
        "environment.key",
        "environment",
        f"{environment.key}: " + ", ".join(f"{item.name} {item.value}" for item in _told(values)),
        key=environment.key,
        fields=_as_rows(environment.fields),
        recorded=_as_rows(environment.recorded),
        requirement=environment.requirement,
    )


def device_findings(environment: Environment) -> Iterator[Finding]:
    """Whether the GPU is seen, if there is to be one."""
    values = {item.name: item for item in (*environment.fields, *environment.recorded)}
    device, driver = values.get("device"), values["driver"]
    if device is not None:
        yield ok(
            "host.gpu",
            _SUBJECT,
            f"GPU {device.value}, compute capability {values['compute_capability'].value}, driver "
            f"{driver.value} (by {device.source})",
            device=device.value,
            driver=driver.value,
            source=device.source,
        )
        return
    release = probes.torch_release()
    runtime = next((name for name in ("cuda", "hip") if getattr(release, name)), None)
    if runtime is not None:
        yield note(
            "host.no_gpu",
            _SUBJECT,
            f"torch is built for {runtime.upper()} {getattr(release, runtime)}, and sees no GPU "
            f"({driver.source}): this is an environment without one",
            "if there is to be one, look at CUDA_VISIBLE_DEVICES, the driver, and whether the "
            "container was given it: what was saved on a GPU is not found without",
            source=driver.source,
        )


def switch_findings(variables: Mapping[str, str]) -> Iterator[Finding]:
    """The compilers' own switches that make every cache useless."""
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


def tool_findings(
    environment: Environment, variables: Mapping[str, str], paths: Iterable[str]
) -> Iterator[Finding]:
    """Programs that Inductor runs before it uses even a compiled kernel.

    Args:
        environment: of this host.
        variables: of the process that compiles.
        paths: of the artifacts that are here, or will be.
    """
    missing = find_missing_tools(variables, paths)
    for name, lack in missing.items():
        code: Code = "host.no_compiler" if name == "compiler" else "host.no_openssl"
        yield problem(code, _SUBJECT, lack.fact, lack.advice)
    if not missing:
        compiler = next(item for item in environment.recorded if item.name == "cxx_compiler")
        found = "no C++ compiler, and none is needed yet"
        if compiler.value != NONE:
            found = f"C++ compiler {compiler.value}"
        yield ok("host.tools", _SUBJECT, found, compiler=compiler.value)


def _told(values: Mapping[str, str]) -> Iterator[Field]:
    from b10_transfer.machine.environment import Field

    for name in ("python_abi", "os", "machine", "vector_isa", "device", "cuda", "hip"):
        if name in values:
            yield Field(name, values[name], "")


def _as_rows(fields: Iterable[Field]) -> list[dict[str, str]]:
    return [{"name": item.name, "value": item.value, "source": item.source} for item in fields]


def _own_version() -> str:
    try:
        return importlib.metadata.version("b10-transfer")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
