"""torch's own way to carry a cache: `torch.compiler.save_cache_artifacts` and its counterpart.

They hold graphs and autograd entries, and nothing of what a graph refers to: neither libraries nor
sources nor, in general, kernels of Triton. So they are measured with the graphs of a tree alone.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from bench.calls import Took

if TYPE_CHECKING:
    from pathlib import Path

NAME = "torch, graphs alone"

_PROGRAM = """
import sys, time
from pathlib import Path
import torch
import torch._inductor.codecache
from torch.compiler._cache import CacheArtifactManager
what, tree, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
CacheArtifactManager._ensure_cache_artifacts_registered()
if what == "save":
    for kind, entries in (("inductor", "fxgraph/*/*/*"), ("aot_autograd", "aotautograd/*/*")):
        for path in tree.glob(entries):
            CacheArtifactManager.record_artifact(kind, path.parent.name, path.read_bytes())
    begin, used = time.perf_counter(), time.process_time()
    file.write_bytes(torch.compiler.save_cache_artifacts()[0])
else:
    begin, used = time.perf_counter(), time.process_time()
    assert torch.compiler.load_cache_artifacts(file.read_bytes())
print(time.perf_counter() - begin, time.process_time() - used)
"""


def save(tree: Path, file: Path, home: Path) -> Took:
    """Write the graphs of a tree to a file, in a process that has them and torch in memory."""
    return _run("save", tree, file, home)


def load(file: Path, target: Path, home: Path) -> Took:
    """Write the graphs in a file to an empty cache root, in a process that has imported torch."""
    return _run("load", target, file, home)


def _run(what: str, tree: Path, file: Path, home: Path) -> Took:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, what, tree, file],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "TORCHINDUCTOR_CACHE_DIR": str(tree)},
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, cpu = map(float, done.stdout.split()[-2:])
    return Took(seconds, cpu)
