"""How many operations on the shared folder, and how many bytes, loads and saves cost.

Counted at the seam to the shared folder, so the figures hold for any mount and any machine. From
them: what a thousand replicas ask of it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

from b10_transfer import Settings, load, save
from b10_transfer.operations import context
from bench import trees
from tests.support.counted_stores import MeasuringRemote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SAVERS = 50
_LOOKING = frozenset({"list", "stat", "now"})


class Cost(NamedTuple):
    """What one operation asked of the shared folder.

    Attributes:
        looks: listings and looks at one name.
        reads: of a file, however many ranges of it.
        changes: files made, renamed, touched and deleted.
        bytes_read: from the shared folder.
        bytes_written: to it, in files that stayed.
    """

    looks: int
    reads: int
    changes: int
    bytes_read: int
    bytes_written: int


class Bed:
    """A store, and replicas that use it, in a temporary folder."""

    def __init__(self, folder: Path, tree: Path) -> None:
        """Copy a tree to a first replica; nothing is stored yet."""
        self.folder = folder
        self.tree = folder / "tree"
        self.store = folder / "store"
        trees.copy_tree(tree, self.tree)

    def load(self, name: str) -> Cost:
        """Load to the replica of that name."""
        return self._counted(lambda: load(self._settings(self.folder / name)))

    def save(self, root: Path, namespace: str = "") -> Cost:
        """Save a cache root."""
        return self._counted(lambda: save(self._settings(root, namespace), wait=False))

    def save_at_once(self, roots: Sequence[Path]) -> Cost:
        """Save cache roots, a replica each, all at the same time."""

        def save_all() -> None:
            with ThreadPoolExecutor(len(roots)) as pool:
                list(pool.map(save, map(self._settings, roots)))

        return self._counted(save_all)

    def add_heads(self, count: int) -> None:
        """Add manifests of savers that knew nothing of each other: heads that a load unites."""
        own = self.store
        for number in range(count):
            root = self.folder / f"other-{number}"
            root.mkdir()
            trees.add_to_tree(root, trees.FILES_PER_UNIT, number)
            self.store = self.folder / f"other-store-{number}"
            self.save(root)
            for kind in ("packs", "manifests"):
                shutil.copytree(self.store / kind, own / kind, dirs_exist_ok=True)
        self.store = own

    def _settings(self, root: Path, namespace: str = "") -> Settings:
        for folder in (self.store, self.folder / "work"):
            folder.mkdir(exist_ok=True)
        return Settings.from_environment(
            {
                "PATH": os.environ["PATH"],
                "BASETEN_FS_ENABLED": "1",
                "B10FS_CACHE_DIR": str(self.store),
                "TORCHINDUCTOR_CACHE_DIR": str(root),
                "HOME": str(self.folder),
                "TMPDIR": str(self.folder),
                "LOCAL_WORK_DIR": str(self.folder / "work"),
                "B10_AUTO_GC": "0",
                "B10_CACHE_NAMESPACE": namespace,
            }
        )

    def _counted(self, operation: Callable[[], object]) -> Cost:
        made: list[MeasuringRemote] = []

        def remote(root: str) -> MeasuringRemote:
            made.append(MeasuringRemote(root))
            return made[-1]

        before = _size(self.store)
        with mock.patch.object(context, "FolderRemote", remote):
            operation()
        effects = Counter(call.effect for each in made for call in each.calls)
        looks = sum(count for effect, count in effects.items() if effect in _LOOKING)
        return Cost(
            looks=looks,
            reads=effects["read"],
            changes=effects.total() - looks - effects["read"],
            bytes_read=sum(sum(each.bytes_read.values()) for each in made),
            bytes_written=_size(self.store) - before,
        )


def main(arguments: Sequence[str]) -> int:
    """Count and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="tools/dev bench costs", description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", default=[1000, 6000, 20000])
    sizes: list[int] = parser.parse_args(arguments).size
    print(f"{'':36} {'looks':>6} {'reads':>6} {'changes':>8} {'MB read':>8} {'MB written':>11}")
    for files in sizes:
        with tempfile.TemporaryDirectory(prefix="b10-bench-") as folder:
            _of_size(Bed(Path(folder), trees.grown_tree(files)), files)
    for show in (_of_heads, _of_neighbours, _of_savers_at_once):
        with tempfile.TemporaryDirectory(prefix="b10-bench-") as folder:
            show(Bed(Path(folder), trees.grown_tree(sizes[0])))
    return 0


def _of_size(bed: Bed, files: int) -> None:
    _show(f"{files:,} artifacts: first save", bed.save(bed.tree))
    _show("save of nothing new", bed.save(bed.tree))
    twin = bed.folder / "twin"
    shutil.copytree(bed.tree, twin, ignore=shutil.ignore_patterns(".b10_transfer"))
    _show("the same, by another replica", bed.save(twin))
    trees.add_to_tree(bed.tree, files // 20)
    _show("save of 5 % more", bed.save(bed.tree))
    _show("first load", bed.load("replica"))
    _show("load of nothing new", bed.load("replica"))


def _of_heads(bed: Bed) -> None:
    bed.save(bed.tree)
    for heads in (2, 4, 8):
        bed.add_heads(heads // 2)
        _show(f"{heads} heads: first load", bed.load(f"replica-{heads}"))
        shutil.rmtree(bed.folder / f"replica-{heads}")
        for folder in bed.folder.glob("other-*"):
            shutil.rmtree(folder)
    _show("save that unites 8 heads", bed.save(bed.tree))


def _of_neighbours(bed: Bed) -> None:
    bed.save(bed.tree)
    for others in (10, 70):
        for number in range(others):
            bed.save(bed.tree, f"n{number}")  # as other environments: an address of its own
        _show(f"{others} other namespaces: first load", bed.load(f"beside-{others}"))
        root = bed.folder / f"new-{others}"
        root.mkdir()
        trees.add_to_tree(root, 10 * trees.FILES_PER_UNIT, 50 + others)
        _show("save of 10 MB that nobody has", bed.save(root, f"new-{others}"))


def _of_savers_at_once(bed: Bed) -> None:
    twins = [bed.folder / f"twin-{number}" for number in range(_SAVERS)]
    for twin in twins:
        shutil.copytree(bed.tree, twin)
    _show(f"{_SAVERS} save the same at once, in all", bed.save_at_once(twins))


def _show(name: str, cost: Cost) -> None:
    print(
        f"{name:36} {cost.looks:6} {cost.reads:6} {cost.changes:8} {cost.bytes_read / 1e6:8.2f} "
        f"{cost.bytes_written / 1e6:11.2f}",
        flush=True,
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
