from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from b10_transfer.machine.gpus import Gpu, GpuListing, NvmlError, PyNvml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# nvidia-ml-py as it answers on a machine with one sliced and one whole GPU.
FAKE_PYNVML = """
calls = []

class NVMLError(Exception):
    pass

def nvmlInit(): calls.append("init")
def nvmlShutdown(): calls.append("shutdown")
def nvmlSystemGetDriverVersion(): return b"570.86.15"
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return "gpu", index
def nvmlDeviceGetCudaComputeCapability(handle): return (9, 0) if handle[1] == 0 else (8, 9)
def nvmlDeviceGetMaxMigDeviceCount(handle): return 4
def nvmlDeviceGetGpuInstanceId(handle): return 7 + handle[1]
def nvmlDeviceGetComputeInstanceId(handle): return 0

def nvmlDeviceGetName(handle):
    return {
        ("gpu", 0): "NVIDIA H100 80GB HBM3",
        ("gpu", 1): b"NVIDIA L4",
        ("slice", 1): "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        ("slice", 3): "NVIDIA H100 80GB HBM3 MIG 2g.20gb",
    }[handle]

def nvmlDeviceGetUUID(handle):
    return {
        ("gpu", 0): "GPU-cccc",
        ("gpu", 1): "GPU-eeee",
        ("slice", 1): "MIG-1111",
        ("slice", 3): "MIG-3333",
    }[handle]

def nvmlDeviceGetMigMode(handle):
    if handle[1] == 1:
        raise NVMLError("Not Supported")
    return [1, 1]

def nvmlDeviceGetMigDeviceHandleByIndex(handle, index):
    if index not in (1, 3):
        raise NVMLError("Not Found")
    return "slice", index
"""


@pytest.fixture
def fake_pynvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    real = sys.modules.pop("pynvml", None)

    def install(source: str) -> None:
        (tmp_path / "pynvml.py").write_text(source, encoding="utf-8")
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    yield install
    sys.modules.pop("pynvml", None)
    if real is not None:
        sys.modules["pynvml"] = real


def test_nvml_is_read_with_the_slices_of_gpus_and_shut_down(
    fake_pynvml: Callable[[str], None],
) -> None:
    fake_pynvml(FAKE_PYNVML)
    listing = PyNvml().list_gpus()
    h100 = "NVIDIA H100 80GB HBM3"
    slices = (
        Gpu(f"{h100} MIG 1g.10gb", "MIG-1111", "9.0", "MIG-GPU-cccc/8/0"),
        Gpu(f"{h100} MIG 2g.20gb", "MIG-3333", "9.0", "MIG-GPU-cccc/10/0"),
    )
    assert listing == GpuListing(
        (Gpu(h100, "GPU-cccc", "9.0", slices=slices), Gpu("NVIDIA L4", "GPU-eeee", "8.9")),
        "570.86.15",
        "NVML",
    )
    assert sys.modules["pynvml"].calls == ["init", "shutdown"]


@pytest.mark.parametrize(
    "fault",
    [
        "def nvmlInit(): raise NVMLError('Driver/library version mismatch')",
        "def nvmlInit(): raise OSError('Driver/library version mismatch')",
        "def nvmlDeviceGetCount(): raise NVMLError('Driver/library version mismatch')",
        "raise ImportError('Driver/library version mismatch')",
    ],
)
def test_an_nvml_that_fails_says_why(fake_pynvml: Callable[[str], None], fault: str) -> None:
    fake_pynvml(f"{FAKE_PYNVML}\n{fault}\n")
    with pytest.raises(NvmlError, match="version mismatch"):
        PyNvml().list_gpus()


def test_an_nvml_that_fails_after_its_start_is_shut_down(
    fake_pynvml: Callable[[str], None],
) -> None:
    fake_pynvml(FAKE_PYNVML + "\ndef nvmlDeviceGetUUID(handle): raise NVMLError('GPU is lost')\n")
    with pytest.raises(NvmlError, match="GPU is lost"):
        PyNvml().list_gpus()
    assert sys.modules["pynvml"].calls == ["init", "shutdown"]


DETECT = """
import json, os, sys
from b10_transfer.machine.environment import Environment
environment = Environment.detect(os.environ)
fields = {field.name: field.value for field in environment.fields}
recorded = {field.name: field.value for field in environment.recorded}
assert "torch" not in sys.modules
print(json.dumps([environment.is_gpu, environment.key, environment.requirement, fields, recorded]))
"""


def detect(folder: Path, **variables: str) -> tuple[bool, str, str, dict[str, str], dict[str, str]]:
    """The environment of a process in which a torch for CUDA 12.8 and its GPUs are to be found."""
    torch = folder / "torch"
    torch.mkdir(exist_ok=True)
    (torch / "__init__.py").write_text("raise SystemExit('torch was imported')", encoding="utf-8")
    version = "__version__ = '2.9.1+cu128'\ncuda: str = '12.8'\nhip = None\ngit_version = 'ab12'\n"
    (torch / "version.py").write_text(version, encoding="utf-8")
    (folder / "pynvml.py").write_text(FAKE_PYNVML, encoding="utf-8")
    path = os.pathsep.join([str(folder), *sys.path])
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "ATEN_"))}
    done = subprocess.run(
        [sys.executable, "-c", DETECT],
        env={**environ, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    gpu, key, requirement, fields, recorded = json.loads(done.stdout)
    return gpu, key, requirement, fields, recorded


def test_a_process_with_a_gpu_has_a_gpu_environment_without_importing_torch(tmp_path: Path) -> None:
    gpu, _, _, fields, recorded = detect(tmp_path)
    assert gpu
    assert fields["device"] == "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    assert fields["compute_capability"] == "9.0"
    assert fields["cuda"] == "12.8"
    assert (fields["torch"], fields["torch_git"]) == ("2.9.1+cu128", "ab12")
    assert recorded["driver"] == "570.86.15"
    assert not {"cpu_flags", "c_library"} & set(fields)
    assert {"cpu_flags", "c_library"} <= set(recorded)


def test_hidden_gpus_leave_a_cpu_environment_of_its_own_key(tmp_path: Path) -> None:
    on_gpu = detect(tmp_path)
    without = [detect(tmp_path, CUDA_VISIBLE_DEVICES=hidden) for hidden in ("", "-1")]
    assert without[0][:4] == without[1][:4]
    gpu, key, requirement, fields, _ = without[0]
    assert not gpu
    assert {"cpu_flags", "c_library"} <= set(fields)
    assert "device" not in fields
    assert key != on_gpu[1]
    assert requirement == on_gpu[2]


def test_another_gpu_of_the_same_machine_has_another_key(tmp_path: Path) -> None:
    seen = {
        name: detect(tmp_path, CUDA_VISIBLE_DEVICES=name)
        for name in ("0", "1", "GPU-eeee", "MIG-1111", "MIG-3333")
    }
    assert seen["1"][3]["device"] == "NVIDIA L4"
    assert seen["MIG-3333"][3]["device"].endswith("MIG 2g.20gb")
    assert seen["0"][1] == seen["MIG-1111"][1]
    assert seen["1"][1] == seen["GPU-eeee"][1]
    assert len({key for _, key, *_ in seen.values()}) == 3
