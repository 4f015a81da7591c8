"""What is read without torch, against what torch itself says in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from b10_transfer.machine.environment import Environment
from b10_transfer.machine.versions import cxx_compiler

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch"),
]

CAPABILITIES = ("unset", "avx2", "avx512", "default", "nonsense")

ASK_TORCH = """
import json, os, sys, warnings
from b10_transfer.machine.environment import Environment

before = Environment.detect(os.environ)
told_apart = "torch" in sys.modules

import torch
from torch._inductor import config, cpu_vec_isa
from torch._inductor.cpp_builder import CppTorchOptions, get_cpp_compiler

picked = {}
warnings.simplefilter("ignore")
for capability in CAPABILITIES:
    os.environ.pop("ATEN_CPU_CAPABILITY", None)
    if capability != "unset":
        os.environ["ATEN_CPU_CAPABILITY"] = capability
    isa = cpu_vec_isa.pick_vec_isa()
    ours = {field.name: field.value for field in Environment.detect(os.environ).fields}
    picked[capability] = [str(isa), isa.bit_width(), ours["vector_isa"]]
os.environ.pop("ATEN_CPU_CAPABILITY", None)

try:
    import triton
    triton_version = triton.__version__
except ImportError:
    triton_version = "none"

after = Environment.detect(os.environ)
print(json.dumps({
    "imported by detect": told_apart,
    "same with torch": before == after,
    "key": before.key,
    "explained": before.explain(),
    "torch": str(torch.__version__),
    "torch_git": torch.version.git_version,
    "cuda": torch.version.cuda,
    "hip": torch.version.hip,
    "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    "triton": triton_version,
    "picked": picked,
    "folder": os.path.dirname(os.path.dirname(torch.__file__)),
    "threads": torch.get_num_threads(),
    "compiler": get_cpp_compiler(),
    "include folders": CppTorchOptions().get_include_dirs(),
    "headers": config.cpp_cache_precompile_headers,
}))
""".replace("CAPABILITIES", repr(CAPABILITIES))


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the process that asks torch."""
    folder = tmp_path_factory.mktemp("torch")
    settings = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ATEN_", "TORCH", "MKL_", "OMP_"))
    }
    return kept | settings


@pytest.fixture(scope="module")
def torch_says(variables: dict[str, str]) -> dict[str, Any]:
    """torch's own answers; a single process gives them all, since it compiles to find its ISA."""
    done = subprocess.run(
        [sys.executable, "-c", ASK_TORCH],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def fields(variables: dict[str, str]) -> dict[str, str]:
    """The same environment, seen from here."""
    environment = Environment.detect(variables)
    return {field.name: field.value for field in environment.fields + environment.recorded}


def test_detecting_does_not_import_torch_and_answers_the_same_once_it_is_imported(
    torch_says: dict[str, Any], variables: dict[str, str]
) -> None:
    assert not torch_says["imported by detect"]
    assert torch_says["same with torch"]
    assert torch_says["key"] == Environment.detect(variables).key, torch_says["explained"]


@pytest.mark.parametrize("name", ["torch", "torch_git", "triton"])
def test_the_versions_are_those_that_the_packages_report(
    name: str, torch_says: dict[str, Any], fields: dict[str, str]
) -> None:
    assert fields[name] == torch_says[name]


def test_the_gpu_and_its_runtime_are_those_that_torch_reports(
    torch_says: dict[str, Any], fields: dict[str, str]
) -> None:
    assert fields.get("device") == torch_says["gpu"]
    if torch_says["gpu"] is not None:
        assert fields.get("cuda") == torch_says["cuda"]
        assert fields.get("hip") == torch_says["hip"]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_vector_isa_is_the_one_that_inductor_picks(
    capability: str, torch_says: dict[str, Any]
) -> None:
    name, bits, ours = torch_says["picked"][capability]
    if name == "INVALID_VEC_ISA":
        assert ours == "none"
    elif ours.startswith("sve"):
        assert name == "asimd"
        assert int(ours.removeprefix("sve ")) >= bits  # torch has no wider SVE than 256
    else:
        assert ours == name


def test_a_capability_that_torch_obeys_parts_the_environments(
    torch_says: dict[str, Any],
) -> None:
    picked = torch_says["picked"]
    theirs = {capability: (name, bits) for capability, (name, bits, _) in picked.items()}
    ours = {capability: value for capability, (_, _, value) in picked.items()}
    for a in CAPABILITIES:
        for b in CAPABILITIES:
            assert (theirs[a] == theirs[b]) == (ours[a] == ours[b]), (a, b)


def test_what_is_recorded_is_what_torch_goes_by(
    torch_says: dict[str, Any], fields: dict[str, str], variables: dict[str, str]
) -> None:
    assert fields["site_packages"] == torch_says["folder"]
    assert fields["python_include"] in torch_says["include folders"]
    assert fields["threads"] == str(torch_says["threads"]) == "1"
    assert fields["precompiled_headers"] == ("on" if torch_says["headers"] else "off")
    named = cxx_compiler({**variables, "CXX": torch_says["compiler"]})
    assert fields["cxx_compiler"] == named.value != "none"
