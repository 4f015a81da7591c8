"""The caches of model servers, of the shape that they leave, and the hosts that they run on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from b10_store.manifests.merge import merge
from b10_transfer.operations.context import open_context
from tests.support.cache_trees import (
    TRITON_HASH,
    Tree,
    compiled_graph,
    elf,
    noise,
    pickled,
    read_tree,
    triton_kernel,
    write_tree,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b10_store.format.manifest import Entry, Identity
    from b10_transfer.operations.reports import LoadReport, SaveReport
    from tests.support.sites import Host

SHA = "0123456789abcdef" * 4
AOT = f"torch_compile_cache/torch_aot_compile/{SHA}"
GRAPHS = "torch_compile_cache/0a1b2c3d4e/rank_0_0/backbone"
KERNEL = "deep_gemm/cache/sm90_fp8_gemm.0011223344556677"
OTHER_KERNEL = "deep_gemm/cache/sm90_fp8_gemm.8899aabbccddeeff"
OPERATION = ".cache/flashinfer/0.7.0/90a/cached_ops/norm"
LARGE = 1_300_000
"""Bytes of a file that has frames of a pack for itself."""

GRAPH_LIST = f"{GRAPHS}/vllm_compile_cache.py"
_LISTED = b"""{   ((1, 8192), 0, 'inductor_standalone'): {
        'cache_key': 'a1b2', 'graph_handle': ('artifact_a', '/old/artifact_a')}}
"""


class ServerHost(NamedTuple):
    """A host of a model server, which keeps its caches in one folder.

    Attributes:
        host: with a home of its own.
        outside: environment variables of a process beside the server.
        inside: those of the server itself, which it has changed.
        root: the server's folder.
    """

    host: Host
    outside: Mapping[str, str | None]
    inside: Mapping[str, str | None]
    root: Path

    def view(self, *, in_server: bool) -> dict[str, str | None]:
        """The environment variables of the server or of a process beside it."""
        return dict(self.inside if in_server else self.outside)

    def save(self, *, in_server: bool = False, **changes: str | None) -> SaveReport:
        """Save in the server or beside it."""
        return self.host.save(wait=True, **{**self.view(in_server=in_server), **changes})

    def load(self, *, in_server: bool = False, **changes: str | None) -> LoadReport:
        """Load in the server or beside it."""
        return self.host.load(**{**self.view(in_server=in_server), **changes})

    def stored(self) -> Mapping[Identity, Entry]:
        """What the store has for this host's environment."""
        context = open_context(self.host.settings(**self.outside))
        return merge(context.store.heads(context.address).manifests).entries


_UNSET: dict[str, str | None] = dict.fromkeys(
    (
        *("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TRITON_HOME", "XDG_CACHE_HOME"),
        *("VLLM_CACHE_ROOT", "SGLANG_CACHE_DIR", "SGL_CACHE_DIR", "SGLANG_JIT_CACHE_DIR"),
        *("FLASHINFER_WORKSPACE_BASE", "DG_JIT_CACHE_DIR", "DJ_JIT_CACHE_DIR"),
        *("TILELANG_CACHE_DIR", "CUTE_DSL_CACHE_DIR"),
    )
)


def vllm_host(host: Host, **chosen: str) -> ServerHost:
    """A host of vLLM.

    Args:
        host: the host.
        chosen: what its user set of VLLM_CACHE_ROOT and XDG_CACHE_HOME.
    """
    caches = chosen.get("XDG_CACHE_HOME") or f"{host.folder}/home/.cache"
    root = chosen.get("VLLM_CACHE_ROOT") or f"{caches}/vllm"
    outside = {**_UNSET, **chosen}
    inside = {
        **outside,
        "TORCHINDUCTOR_CACHE_DIR": f"{root}/{AOT}/inductor_cache",
        "TRITON_CACHE_DIR": f"{root}/{AOT}/inductor_cache/triton/0",
        "DG_JIT_CACHE_DIR": f"{root}/deep_gemm",
    }
    return ServerHost(host, outside, inside, Path(root))


def sglang_host(host: Host, **chosen: str) -> ServerHost:
    """A host of SGLang.

    Args:
        host: the host.
        chosen: what its user set of SGLANG_CACHE_DIR.
    """
    root = chosen.get("SGLANG_CACHE_DIR") or f"{host.folder}/home/.cache/sglang"
    outside = {**_UNSET, **chosen}
    inside = {
        **outside,
        "TRITON_CACHE_DIR": f"{root}/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{root}/inductor",
        "TILELANG_CACHE_DIR": f"{root}/tilelang",
        "FLASHINFER_WORKSPACE_BASE": root,
        "DG_JIT_CACHE_DIR": f"{root}/deep_gemm",
    }
    return ServerHost(host, outside, inside, Path(root))


def vllm_artifacts(root: Path) -> Tree:
    """The artifacts that vLLM 0.32 leaves in its folder."""
    compiled = f"{AOT}/inductor_cache"
    return {
        f"{AOT}/rank_0_0/model": noise(3000, 1),
        **_below(compiled, compiled_graph("backbone")),
        **_below(
            f"{compiled}/triton/0/{TRITON_HASH}",
            triton_kernel(root / compiled / "triton" / "0" / TRITON_HASH),
        ),
        f"{GRAPHS}/cache_key_factors.json": b'{"env": {}}',
        f"{GRAPHS}/computation_graph.py": b"def forward(self): ...\n",
        GRAPH_LIST: _LISTED,
        f"{GRAPHS}/artifact_compile_range_1_8192_subgraph_0": noise(LARGE, 2),
        **_below(f"{GRAPHS}/artifact_compile_range_1_8192_subgraph_1", compiled_graph("piece")),
        **_deep_gemm_kernel(KERNEL, noise(LARGE, 3)),
        **_deep_gemm_kernel(OTHER_KERNEL, noise(700, 4)),
        f"flashinfer_autotune_cache/0.7.0/90a/{SHA}/autotune_configs.json": b'{"gemm": 1}',
    }


def vllm_rest(root: Path) -> Tree:
    """What else is in vLLM's folder: models, what was measured of the machine, work in progress."""
    folder = root / AOT / "inductor_cache" / "triton" / "0" / "INCOMPLETE"
    torn = triton_kernel(folder)
    del torn["kernel.cubin"]
    return {
        "assets/model_streamer/weights.safetensors": noise(5000, 5),
        "assets/torch_compile_cache/x": b"a model of that name",
        "modelinfos/llama.json": b"{}",
        "modelinfos/tmpab12cd34": b"{",
        "gpu_p2p_access_cache_for_0.json": b'{"0->0": true}',
        "startup_plan/plan.json": b"{}",
        f"{AOT}/rank_0_0/model.123.tmp": b"half",
        f"{AOT}/inductor_cache/locks/fabc.lock": b"",
        f"{AOT}/inductor_cache/ab/.12.34.tmp": b"half",
        f"{AOT}/inductor_cache/ab/half.so": elf()[:-1],
        f"{AOT}/inductor_cache/triton/0/tmp.pid_1_2/kernel.cubin": b"half",
        **_below(folder.relative_to(root).as_posix(), torn),
        "deep_gemm/tmp/12-00112233-00112233-00112233/kernel.cu": b"half",
        f"flashinfer_autotune_cache/0.7.0/90a/{SHA}/.autotune_configs.json.a.tmp": b"{",
    }


def sglang_artifacts(root: Path) -> Tree:
    """The artifacts that SGLang and the compilers below it leave in its folder."""
    captured = "torch_compile_cache/0a1b2c3d4e/rank_0_0/model"
    staged = f"{captured}/triton_cache/{TRITON_HASH}"
    generated = ".cache/flashinfer/0.7.0/90a/generated/batch_decode/batch_decode.cu"
    return {
        **_below(f"triton/{TRITON_HASH}", triton_kernel(root / "triton" / TRITON_HASH)),
        **_below("inductor", compiled_graph("model")),
        **_below(
            f"inductor/triton/0/{TRITON_HASH}",
            triton_kernel(root / "inductor" / "triton" / "0" / TRITON_HASH),
        ),
        f"{captured}/sglang_compile_cache.py": b"{(None, 0, 'inductor'): ('hash', 'path')}",
        **_below(f"{captured}/inductor_cache", compiled_graph("captured")),
        **_below(staged, triton_kernel(root / staged)),
        f"{OPERATION}/build.ninja": b"rule cuda_compile\n",
        f"{OPERATION}/.ninja_log": b"# ninja log v6\n",
        f"{OPERATION}/.ninja_deps": b"# ninjadeps\n\4\0\0\0",
        f"{OPERATION}/norm.cuda.o": elf(noise(900, 6)),
        f"{OPERATION}/norm.so": elf(noise(1200, 7)),
        generated: b"#include <x>\n",
        ".cache/flashinfer/autotune/0.7.0/config.json": b"{}",
        **_deep_gemm_kernel(KERNEL, noise(LARGE, 8)),
        **_deep_gemm_kernel(OTHER_KERNEL, noise(700, 9)),
        f"tilelang/0.1.12/linux-x86_64/kernels/{SHA}/params.pkl": pickled(noise(300, 10)),
        f"tilelang/0.1.12/linux-x86_64/kernels/{SHA}/executable.so": elf(noise(400, 11)),
        f"tilelang/0.1.12/linux-x86_64/autotuner/{SHA}/best_config.json": b"{}",
        f"cute_aot/fingerprint/{SHA}.o": elf(noise(500, 12)),
    }


def sglang_rest() -> Tree:
    """What else is in SGLang's folder."""
    return {
        "locks/DENSE_n1_k2_g3.lock": b"",
        "deep_gemm/locks/DENSE_n1_k2_g3.lock": b"",
        "deep_gemm/tmp/12-00112233-00112233-00112233/kernel.cu": b"half",
        ".cache/flashinfer/cubins/gemm.cubin": noise(4000, 13),
        ".cache/flashinfer/0.7.0/90a/flashinfer_jit.log": b"log",
        ".cache/flashinfer/0.7.0/90a/cached_ops/tmp/norm.lock": b"",
        f"{OPERATION}/half.so": elf()[:-1],
        "inductor/locks/fabc.lock": b"",
        "tilelang/tmp/12_uuid.so": b"half",
        "tilelang/py-cache/kernel.00112233.py": b"",
        "tilelang/0.1.12/linux-x86_64/.staging/k_12_00/executable.so": elf(),
        f"cute_aot/fingerprint/{SHA}.lock": b"",
        f"cute_aot/fingerprint/.{SHA}.tmp.o": b"half",
        "nv/0/index": b"driver",
        "model_streamer/weights": noise(3000, 14),
        "gpu_p2p_access_cache_for_0.json": b"{}",
        f"triton/tmp.pid_12_{SHA}/kernel.cubin": b"half",
    }


def write_dated(root: Path, tree: Mapping[str, bytes]) -> None:
    """Write files, each with a time of its own, to the nanosecond; programs can be executed."""
    write_tree(root, tree)
    for number, path in enumerate(sorted(tree)):
        location = root / path
        moment = 1_700_000_000_123_456_789 + number * 1_000_000_007
        os.utime(location, ns=(moment, moment))
        if path.endswith(".so"):
            location.chmod(0o755)


def dates(root: Path, paths: Mapping[str, bytes]) -> dict[str, int]:
    """The modification times of files, in ns."""
    return {path: (root / path).stat().st_mtime_ns for path in paths}


def files_below(root: Path) -> Tree:
    """Every file of a server's folder, without what a cache root notes of itself at any depth."""
    return {path: data for path, data in read_tree(root).items() if ".b10_transfer/" not in path}


def _below(folder: str, tree: Mapping[str, bytes]) -> Tree:
    return {f"{folder}/{path}": data for path, data in tree.items()}


def _deep_gemm_kernel(folder: str, code: bytes) -> Tree:
    return {
        f"{folder}/kernel.cu": b'extern "C" __global__ void kernel() {}\n',
        f"{folder}/kernel.cubin": code,
        f"{folder}/meta.json": b"{}",
        f"{folder}/.committed": b"",
    }
