from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_transfer.machine.gpus import FoundGpu, Gpu, GpuListing, NvmlError, first_gpu, first_visible
from b10_transfer.machine.versions import Reading, TorchRelease

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

H100 = "NVIDIA H100 80GB HBM3"
L4 = "NVIDIA L4"
FIRST = Gpu(H100, "GPU-aaaa1111-0000", "9.0")
SECOND = Gpu(L4, "GPU-aaaa2222-0000", "8.9")
THIRD = Gpu(L4, "GPU-bbbb3333-0000", "8.9")
THREE = (FIRST, SECOND, THIRD)

SLICE_1 = Gpu(f"{H100} MIG 1g.10gb", "MIG-1111", "9.0", "MIG-GPU-cccc/7/0")
SLICE_2 = Gpu(f"{H100} MIG 2g.20gb", "MIG-2222", "9.0", "MIG-GPU-cccc/9/0")
SLICED = Gpu(H100, "GPU-cccc", "9.0", slices=(SLICE_1, SLICE_2))
SLICED_BUT_EMPTY = Gpu(H100, "GPU-dddd", "9.0", slices=())


def a_torch(*, cuda: str | None = None, hip: str | None = None) -> TorchRelease:
    reading = Reading("2.13.0", "torch/version.py")
    return TorchRelease(reading, reading, cuda, hip, folder=None)


class FakeNvml:
    def __init__(self, *listed: Gpu) -> None:
        self._listing = GpuListing(listed, "570.10", "NVML")

    def list_gpus(self) -> GpuListing:
        return self._listing


class AbsentNvml:
    def list_gpus(self) -> GpuListing:
        raise NvmlError("library not found")


def never_asked() -> Gpu | None:
    raise AssertionError("torch was asked")


def found(variables: dict[str, str], *listed: Gpu) -> FoundGpu:
    cuda = a_torch(cuda="12.8")
    return first_gpu(cuda, variables, nvml=FakeNvml(*listed), ask_torch=never_asked)


@pytest.mark.parametrize(
    ("visible", "gpu"),
    [
        (None, FIRST),
        ("0", FIRST),
        ("1", SECOND),
        ("2,0", THIRD),
        (" 1 ,0", SECOND),
        ("+1", SECOND),
        ("1gpu,2", SECOND),
        ("", None),
        ("-1", None),
        ("-1,0", None),
        ("0,-1,1", FIRST),
        ("3", None),
        ("none", None),
        ("NoDevFiles", None),
        ("1,1", None),
        ("1,0,x,1", SECOND),
        ("GPU-bbbb3333-0000", THIRD),
        ("GPU-bbbb", THIRD),
        ("GPU-aaaa2", SECOND),
        ("GPU-aaaa", None),
        ("GPU-ffff", None),
        ("GPU-bbbb,GPU-bbbb", None),
        ("GPU-bbbb,0,GPU-bbbb", THIRD),
        ("MIG-1111", None),
    ],
)
def test_cuda_visible_devices_is_followed_as_cuda_does(
    visible: str | None, gpu: Gpu | None
) -> None:
    assert first_visible(THREE, visible) == gpu


@pytest.mark.parametrize(
    ("visible", "gpu"),
    [
        (None, SLICE_1),
        ("0", SLICE_1),
        ("1", FIRST),
        ("GPU-cccc", SLICE_1),
        ("MIG-2222", SLICE_2),
        ("MIG-22", SLICE_2),
        ("MIG-GPU-cccc/9/0", SLICE_2),
        ("MIG-GPU-cccc/9/1", None),
        ("MIG-2222,MIG-1111", SLICE_2),
        ("2", None),
    ],
)
def test_a_gpu_in_mig_mode_is_used_by_its_slices(visible: str | None, gpu: Gpu | None) -> None:
    assert first_visible((SLICED, FIRST, SLICED_BUT_EMPTY), visible) == gpu


def test_a_gpu_in_mig_mode_without_slices_is_passed_over() -> None:
    assert first_visible((SLICED_BUT_EMPTY, FIRST), None) == FIRST


def test_no_gpu_is_visible_where_there_is_none() -> None:
    for visible in (None, "", "0", "GPU-aaaa", "MIG-1111"):
        assert first_visible((), visible) is None


def test_the_first_gpu_comes_with_the_driver_and_the_source() -> None:
    assert found({}, *THREE[1:]) == FoundGpu(SECOND, "NVML", "570.10")
    by_variable = found({"CUDA_VISIBLE_DEVICES": "GPU-bbbb"}, *THREE)
    assert by_variable == FoundGpu(THIRD, "NVML, CUDA_VISIBLE_DEVICES=GPU-bbbb", "570.10")


def test_an_index_among_different_gpus_is_marked_unless_it_follows_pci_addresses() -> None:
    mark = "CUDA_DEVICE_ORDER=PCI_BUS_ID"
    assert mark in found({}, *THREE).source
    assert mark in found({"CUDA_VISIBLE_DEVICES": "1"}, *THREE).source
    assert mark not in found({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, *THREE).source
    assert mark not in found({"CUDA_VISIBLE_DEVICES": "GPU-bbbb"}, *THREE).source
    assert mark not in found({"CUDA_VISIBLE_DEVICES": "1"}, SECOND, THIRD).source


def test_a_torch_without_cuda_uses_no_gpu_and_nobody_is_asked(tmp_path: Path) -> None:
    for_cpus = first_gpu(a_torch(), {}, nvml=FakeNvml(FIRST), root=tmp_path, ask_torch=never_asked)
    assert for_cpus == FoundGpu(None, "torch is built without CUDA")


def test_a_torch_for_cuda_where_no_gpu_is_visible_uses_none() -> None:
    hidden = found({"CUDA_VISIBLE_DEVICES": ""}, FIRST)
    assert hidden.gpu is None
    assert "CUDA_VISIBLE_DEVICES=" in hidden.source


def test_a_torch_for_cuda_on_a_machine_without_a_gpu_uses_none(tmp_path: Path) -> None:
    none = first_gpu(
        a_torch(cuda="12.8"), {}, nvml=AbsentNvml(), root=tmp_path, ask_torch=never_asked
    )
    assert none.gpu is None
    assert "library not found" in none.source


def write_proc(root: Path, address: str, uuid: str, model: str) -> None:
    folder = root / "proc/driver/nvidia/gpus" / address
    folder.mkdir(parents=True)
    text = f"Model: \t\t {model}\nIRQ:   \t\t 0\nGPU UUID: \t {uuid}\nBus Location: \t {address}\n"
    (folder / "information").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("version", "driver"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Rel", "570.86.15"),
        ("", "unknown"),
    ],
)
def test_without_nvml_the_name_comes_from_procfs_in_the_order_of_addresses(
    tmp_path: Path, version: str, driver: str
) -> None:
    write_proc(tmp_path, "0000:5e:00.0", "GPU-2222", L4)
    write_proc(tmp_path, "0000:3b:00.0", "GPU-1111", H100)
    (tmp_path / "proc/driver/nvidia/version").write_text(version, encoding="utf-8")

    def first(variables: dict[str, str]) -> FoundGpu:
        torch = a_torch(cuda="12.8")
        return first_gpu(torch, variables, nvml=AbsentNvml(), root=tmp_path, ask_torch=never_asked)

    assert first({}).gpu == Gpu(H100, "GPU-1111", "unknown")
    assert first({}).driver == driver
    assert first({}).source.startswith("/proc/driver/nvidia")
    assert first({"CUDA_VISIBLE_DEVICES": "GPU-2222"}).gpu == Gpu(L4, "GPU-2222", "unknown")
    assert first({"CUDA_VISIBLE_DEVICES": ""}).gpu is None


@pytest.mark.parametrize(
    ("torch", "node"),
    [(a_torch(hip="6.4"), "dev/kfd"), (a_torch(cuda="12.8"), "dev/nvhost-gpu")],
)
def test_torch_is_asked_only_about_a_device_that_nothing_else_knows(
    tmp_path: Path, torch: TorchRelease, node: str
) -> None:
    gpu = Gpu("AMD Instinct MI300X", "", "gfx942")

    def first(ask: Callable[[], Gpu | None]) -> FoundGpu:
        return first_gpu(torch, {}, nvml=AbsentNvml(), root=tmp_path, ask_torch=ask)

    assert first(never_asked).gpu is None
    (tmp_path / node).parent.mkdir()
    (tmp_path / node).touch()
    assert first(lambda: gpu) == FoundGpu(gpu, "torch.cuda", "unknown")
    assert first(lambda: None) == FoundGpu(None, "torch sees no device", "unknown")


def test_a_torch_that_fails_when_asked_leaves_a_cpu_environment(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()

    def broken() -> Gpu | None:
        raise RuntimeError("HIP driver version is insufficient")

    asked = first_gpu(a_torch(hip="6.4"), {}, root=tmp_path, ask_torch=broken)
    assert asked.gpu is None
    assert "HIP driver version is insufficient" in asked.source
