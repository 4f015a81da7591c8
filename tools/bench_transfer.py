"""How long a save and a load take, against copying the tree and against archives of it.

Every figure is the median of several runs; ratios are of figures taken in turn in one run, since
machines are noisy. `--peer PYTHON` names the interpreter of an environment in which the
archive-based b10-transfer 0.4.1 is installed; it is then measured on the same tree.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from b10_transfer import Settings, load, save
from tools.bench_tree import add_to_tree, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable

Figures = defaultdict[str, list[float]]

_PEER_PROGRAM = """
import sys, time
import b10_transfer
start = time.perf_counter()
status = getattr(b10_transfer, sys.argv[1])()
print(time.perf_counter() - start, status.name)
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kernels", type=int, default=690, help="size of the tree (8 files each)")
    parser.add_argument("--folder", type=Path, help="where to work (default: temporary)")
    parser.add_argument("--peer", help="a Python with b10-transfer 0.4.1, to compare with")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="b10-bench-") as folder:
        Bench(Path(folder), arguments.kernels, arguments.peer).run(arguments.runs)
    return 0


class Bench:
    """One tree, measured in turn by every means."""

    def __init__(self, folder: Path, kernels: int, peer: str | None) -> None:
        """Write the tree."""
        self._folder = folder
        self._peer = peer
        self._tree = folder / "tree"
        write_tree(self._tree, kernels)
        self._figures: Figures = defaultdict(list)
        self._sizes: dict[str, int] = {}

    def run(self, runs: int) -> None:
        """Measure `runs` times and print medians and ratios."""
        files = [path for path in self._tree.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
            f"{platform.python_version()}; {len(files)} files, {size / 1e6:.1f} MB; {runs} runs"
        )
        for _ in range(runs):
            self._one_run()
        for name, seconds in self._figures.items():
            low, high = min(seconds), max(seconds)
            print(f"{name:34} {statistics.median(seconds):8.3f} s   ({low:.3f} to {high:.3f})")
        for name, stored in self._sizes.items():
            print(f"{name:34} {stored / 1e6:8.2f} MB")
        self._print_ratios()

    def _one_run(self) -> None:
        store, other = self._folder / "store", self._folder / "other"
        self._time("first save", lambda: self._save(store, self._tree))
        self._sizes["store"] = _size(store)
        time.sleep(2.1)  # files younger than 2 s are hashed again
        self._save(store, self._tree)
        self._time("save with nothing new", lambda: self._save(store, self._tree))
        self._time("load into an empty root", lambda: self._load(store, other))
        self._time("load with everything here", lambda: self._load(store, other))
        shutil.rmtree(other)
        self._time("cp -r", lambda: _call("cp", "-r", str(self._tree), str(other)))
        shutil.rmtree(other)
        self._load(store, other)
        time.sleep(2.1)  # files younger than 2 s are hashed again
        before = _size(store)
        self._time("save under a second namespace", lambda: self._save(store, self._tree, "second"))
        self._sizes["more for a second namespace"] = _size(store) - before
        add_to_tree(other, 0.05)
        self._time("save after 5 % more", lambda: self._save(store, other))
        self._archives()
        if self._peer:
            self._measure_peer(self._peer)
        for folder in (store, other):
            shutil.rmtree(folder)
        shutil.rmtree(self._tree / ".b10_transfer", ignore_errors=True)

    def _archives(self) -> None:
        for kind, option in (("gzip", "-z"), ("zstd", "--zstd")):
            if kind == "zstd" and shutil.which("zstd") is None:
                continue
            archive = self._folder / f"tree.tar.{kind}"
            target = self._folder / "unpacked"
            target.mkdir()
            pack = ["tar", option, "-cf", str(archive), "-C", str(self._tree), "."]
            unpack = ["tar", option, "-xf", str(archive), "-C", str(target)]
            self._time(f"tar + {kind}, pack", partial(_call, *pack))
            self._time(f"tar + {kind}, unpack", partial(_call, *unpack))
            self._sizes[f"tar + {kind}"] = archive.stat().st_size
            shutil.rmtree(target)
            archive.unlink()

    def _measure_peer(self, python: str) -> None:
        # Its paths must lie in the folders that it allows.
        base = Path("/cache/model/b10-bench")
        work = Path("/cache/model/b10-bench-work")
        for folder in (base, work):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        tree = Path("/cache/b10-bench-peer")
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(self._tree, tree)
        environment = {
            **os.environ,
            "BASETEN_FS_ENABLED": "1",
            "B10FS_CACHE_DIR": str(base),
            "TORCHINDUCTOR_CACHE_DIR": str(tree),
            "LOCAL_WORK_DIR": str(work),
            "MIN_B10FS_SPACE_MB": "100",
            "MIN_LOCAL_SPACE_MB": "10",
            "MAX_CONCURRENT_SAVES": "1",
        }
        for name, call in (("save", "save_compile_cache"), ("load", "load_compile_cache")):
            if name == "load":
                shutil.rmtree(tree)
            done = subprocess.run(
                [python, "-c", _PEER_PROGRAM, call],
                env=environment,
                check=True,
                capture_output=True,
                text=True,
                cwd=self._folder,
            )
            seconds, status = done.stdout.split()[-2:]
            if status != "SUCCESS":
                sys.exit(f"the peer's {name} ended with {status}: {done.stderr[-500:]}")
            self._figures[f"peer: {name}"].append(float(seconds))
        self._sizes["peer: store"] = _size(base)
        for folder in (base, work, tree):
            shutil.rmtree(folder)

    def _settings(self, store: Path, tree: Path, namespace: str = "") -> Settings:
        return Settings.from_environment(
            {
                **os.environ,
                "BASETEN_FS_ENABLED": "1",
                "B10FS_CACHE_DIR": str(store),
                "TORCHINDUCTOR_CACHE_DIR": str(tree),
                "HOME": str(self._folder),
                "TMPDIR": str(self._folder),
                "B10_AUTO_GC": "0",
                "LOCAL_WORK_DIR": str(self._folder),
                "B10_CACHE_NAMESPACE": namespace,
            }
        )

    def _save(self, store: Path, tree: Path, namespace: str = "") -> None:
        save(self._settings(store, tree, namespace))

    def _load(self, store: Path, tree: Path) -> None:
        load(self._settings(store, tree))

    def _time(self, name: str, action: Callable[[], None]) -> None:
        start = time.perf_counter()
        action()
        self._figures[name].append(time.perf_counter() - start)

    def _print_ratios(self) -> None:
        pairs = [
            ("load into an empty root", "cp -r"),
            ("load into an empty root", "tar + gzip, unpack"),
            ("load into an empty root", "peer: load"),
            ("first save", "tar + gzip, pack"),
            ("first save", "peer: save"),
        ]
        for ours, theirs in pairs:
            if theirs in self._figures:
                ratios = [
                    a / b for a, b in zip(self._figures[ours], self._figures[theirs], strict=True)
                ]
                print(f"{ours} / {theirs}: {statistics.median(ratios):.2f}")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _call(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
