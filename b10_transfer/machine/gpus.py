"""Find the GPU torch would use first, without importing torch or initialising CUDA.

A process that has initialised CUDA cannot fork workers that use it, and CUDA_VISIBLE_DEVICES has
no effect afterwards, so the driver is asked through NVML, or else through procfs, which do neither.
torch itself is asked only where they do not know the device.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from b10_transfer.machine.versions import NONE, UNKNOWN, TorchRelease, raise_unless_absent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

# Device nodes of GPUs that CUDA may know although neither NVML nor procfs does: with a broken NVML,
# on Jetson boards, in WSL. Without such a node torch is not imported just to learn that there is no
# GPU.
_CUDA_NODES = ("dev/nvidia0", "dev/nvhost-gpu", "dev/nvgpu", "dev/dxg")
_ROCM_NODES = ("dev/kfd",)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one MIG slice of a GPU."""

    name: str
    """As torch reports it; the name of a slice ends in ``MIG <profile>``."""
    uuid: str
    capability: str = UNKNOWN
    """Compute capability such as ``9.0``; the architecture's name on ROCm."""
    alias: str = ""
    """The older name of a slice: ``MIG-<GPU's UUID>/<GPU instance>/<compute instance>``."""
    slices: tuple[Gpu, ...] | None = None
    """None unless the GPU is in MIG mode, in which it can be used by its slices only."""


class GpuListing(NamedTuple):
    """The GPUs of a machine in PCI order, whether or not CUDA_VISIBLE_DEVICES hides them."""

    gpus: tuple[Gpu, ...]
    driver: str
    source: str


class FoundGpu(NamedTuple):
    """The GPU that torch would use first, if any, and how it was found."""

    gpu: Gpu | None
    source: str
    driver: str = NONE


class NvmlError(Exception):
    """NVML cannot be asked; the message says why."""


class Nvml(Protocol):
    """The functions that are needed from NVML."""

    def list_gpus(self) -> GpuListing:
        """All GPUs that the driver lets this process see. Raises NvmlError."""
        ...


class PyNvml:
    """NVML through nvidia-ml-py, loaded when first asked and shut down after each answer."""

    def list_gpus(self) -> GpuListing:
        """All GPUs that the driver lets this process see. Raises NvmlError."""
        try:
            library = importlib.import_module("pynvml")
        except ImportError as error:
            raise NvmlError(str(error)) from error
        try:
            library.nvmlInit()
            try:
                return self._listing(library)
            finally:
                library.nvmlShutdown()
        except (library.NVMLError, OSError) as error:
            raise_unless_absent(error)
            raise NvmlError(str(error)) from error

    def _listing(self, library: ModuleType) -> GpuListing:
        handles = map(library.nvmlDeviceGetHandleByIndex, range(library.nvmlDeviceGetCount()))
        return GpuListing(
            gpus=tuple(self._gpu(library, handle) for handle in handles),
            driver=_text(library.nvmlSystemGetDriverVersion()),
            source="NVML",
        )

    def _gpu(self, library: ModuleType, handle: object) -> Gpu:
        uuid = _text(library.nvmlDeviceGetUUID(handle))
        major, minor = library.nvmlDeviceGetCudaComputeCapability(handle)
        capability = f"{major}.{minor}"
        return Gpu(
            name=_text(library.nvmlDeviceGetName(handle)),
            uuid=uuid,
            capability=capability,
            slices=self._slices(library, handle, uuid, capability),
        )

    def _slices(
        self, library: ModuleType, handle: object, parent: str, capability: str
    ) -> tuple[Gpu, ...] | None:
        try:
            enabled, _pending = library.nvmlDeviceGetMigMode(handle)
        except library.NVMLError:  # most GPUs cannot be sliced
            return None
        if not enabled:
            return None
        found: list[Gpu] = []
        for index in range(library.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                part = library.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            except library.NVMLError:  # indices of slices have gaps
                continue
            gpu_instance = library.nvmlDeviceGetGpuInstanceId(part)
            compute_instance = library.nvmlDeviceGetComputeInstanceId(part)
            found.append(
                Gpu(
                    name=_text(library.nvmlDeviceGetName(part)),
                    uuid=_text(library.nvmlDeviceGetUUID(part)),
                    capability=capability,
                    alias=f"MIG-{parent}/{gpu_instance}/{compute_instance}",
                )
            )
        return tuple(found)


def first_gpu(
    release: TorchRelease,
    variables: Mapping[str, str],
    *,
    nvml: Nvml | None = None,
    root: Path = Path("/"),
    ask_torch: Callable[[], Gpu | None] | None = None,
) -> FoundGpu:
    """Return the first GPU that `release` would use with `variables` as its environment.

    Args:
        release: the installed torch; one built for CPUs only uses no GPU.
        variables: the process's environment variables (CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER).
        nvml: asked first; nvidia-ml-py if None.
        root: where ``proc`` and ``dev`` are.
        ask_torch: the last resort, which imports torch and initialises its GPU runtime.
    """
    ask = ask_torch or first_gpu_by_torch
    if release.hip is not None:
        return _first_by_asking(ask, root, _ROCM_NODES, "no /dev/kfd")
    if release.cuda is None:
        return FoundGpu(None, "torch is built without CUDA")
    try:
        listing = (nvml or PyNvml()).list_gpus()
    except NvmlError as error:
        listing = gpus_in_proc(root / "proc")
        if not listing.gpus:
            return _first_by_asking(ask, root, _CUDA_NODES, f"no GPU: {error}")
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    gpu = first_visible(listing.gpus, visible)
    return FoundGpu(
        gpu, _source(listing, visible, variables.get("CUDA_DEVICE_ORDER")), listing.driver
    )


def first_visible(gpus: tuple[Gpu, ...], visible: str | None) -> Gpu | None:
    """Return the GPU, among `gpus`, that CUDA would call device 0.

    Args:
        gpus: all GPUs, in the order of their indices.
        visible: CUDA_VISIBLE_DEVICES: indices, UUIDs of GPUs (any unambiguous beginning will do) or
            of MIG slices. As in CUDA, the first one that is invalid ends the list, so ``""``,
            ``-1`` and anything unreadable hide every GPU, and so does a repeated one (see
            ``torch/cuda/__init__.py``, ``_parse_visible_devices``).
    """
    if visible is None:
        return next(filter(None, map(_usable, gpus)), None)
    identifiers = _identifiers(visible)
    if not identifiers or len(set(identifiers)) < len(identifiers):
        return None
    first = identifiers[0]
    if isinstance(first, int):
        return _usable(gpus[first]) if first < len(gpus) else None
    if first.startswith("GPU-"):
        matches = [gpu for gpu in gpus if gpu.uuid.startswith(first)]
        return _usable(matches[0]) if len(matches) == 1 else None
    slices = [part for gpu in gpus for part in gpu.slices or ()]
    matches = [part for part in slices if part.uuid.startswith(first) or part.alias == first]
    return matches[0] if len(matches) == 1 else None


def gpus_in_proc(proc: Path) -> GpuListing:
    """Return the GPUs in ``/proc/driver/nvidia``, without capabilities and MIG slices."""
    folder = proc / "driver" / "nvidia"
    found: list[Gpu] = []
    by_address = sorted(folder.glob("gpus/*/information"))
    for information in by_address:
        pairs = dict(_pairs(_read(information)))
        if "Model" in pairs:
            found.append(Gpu(pairs["Model"], pairs.get("GPU UUID", "")))
    version = re.search(r"Kernel Module(?: for \S+)?\s+([\d.]+)", _read(folder / "version"))
    return GpuListing(tuple(found), version[1] if version else UNKNOWN, "/proc/driver/nvidia")


def first_gpu_by_torch() -> Gpu | None:
    """Return torch's device 0; this imports torch and initialises its GPU runtime."""
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    capability = getattr(properties, "gcnArchName", "") or f"{properties.major}.{properties.minor}"
    return Gpu(str(properties.name), "", str(capability))


def _first_by_asking(
    ask: Callable[[], Gpu | None], root: Path, nodes: tuple[str, ...], absent: str
) -> FoundGpu:
    if not any((root / node).exists() for node in nodes):
        return FoundGpu(None, absent)
    try:
        gpu = ask()
    except Exception as error:  # noqa: BLE001 - whatever a broken torch or driver raises
        return FoundGpu(None, f"torch cannot tell its device: {error}")
    return FoundGpu(gpu, "torch.cuda" if gpu else "torch sees no device", UNKNOWN)


def _usable(gpu: Gpu) -> Gpu | None:
    """Return the part of a GPU that CUDA uses: its first slice if it is in MIG mode."""
    if gpu.slices is None:
        return gpu
    return gpu.slices[0] if gpu.slices else None


def _identifiers(visible: str) -> list[int | str]:
    """Return the entries of CUDA_VISIBLE_DEVICES before the first invalid one, all of one kind."""
    entries = visible.split(",")
    prefix = visible[:4]
    found: list[int | str] = []
    for entry in entries:
        if prefix in {"GPU-", "MIG-"}:
            if not entry.startswith(prefix):
                break
            found.append(entry)
        else:
            number = re.match(r"\+?\d+", entry.strip())
            if number is None:
                break
            found.append(int(number[0]))
    return found


def _source(listing: GpuListing, visible: str | None, order: str | None) -> str:
    """Return where the first GPU was read, and whether CUDA may number another GPU first.

    CUDA numbers the fastest GPU 0 unless told to follow PCI addresses, and only CUDA itself knows
    which one that is. It matters only among different GPUs. A wrong guess costs hits, never
    correctness, since Inductor and Triton have the device in their own keys.
    """
    source = (
        listing.source if visible is None else f"{listing.source}, CUDA_VISIBLE_DEVICES={visible}"
    )
    by_index = visible is None or not visible.startswith(("GPU-", "MIG-"))
    differ = len({gpu.name for gpu in listing.gpus}) > 1
    if by_index and differ and order != "PCI_BUS_ID":
        source += " (GPUs differ: set CUDA_DEVICE_ORDER=PCI_BUS_ID to be sure)"
    return source


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise_unless_absent(error)
        return ""


def _text(value: str | bytes) -> str:
    """Return NVML's text; older bindings return bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
