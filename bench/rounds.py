"""The rounds of a measurement: the product and the sticks in turn, on the same tree.

Machines are noisy, so what is compared is measured within seconds of each other, round after round,
and ratios are taken within a round. All that a round prepares and removes is outside the clock.
"""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from bench import calls, sticks, torch_artifacts, trees
from bench.messages import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from bench.calls import Took
    from bench.places import Place

Figures = dict[tuple[str, str], list["Took | None"]]
"""What was measured, by operation and by whom; a round after the other, None where left out."""

OURS = "ours"
_SLOW_STICK_SECONDS = 5.0
_SLOW_STICK_RUNS = 1
_GRAIN_SECONDS = 2.1
"""Files younger than this are read again by a save: their times may not tell of a change."""


class Rounds:
    """Measurements of one tree in one place."""

    def __init__(self, place: Place, tree: Path, stick_names: Sequence[str]) -> None:
        """Prepare a store with the tree in it, and the archives.

        Args:
            place: where to measure.
            tree: a grown tree.
            stick_names: see `sticks.chosen`.
        """
        self.figures: Figures = defaultdict(list)
        self._place = place
        self._copies, self._archives = sticks.chosen(stick_names)
        self._asks_torch = "torch" in stick_names
        self._files = sum(1 for path in tree.rglob("*") if path.is_file())
        self._round = 0
        self._home = place.local / "home"
        self._tree = place.local / "tree"
        self._half = place.local / "half"
        trees.copy_tree(tree, self._tree)
        self._store = self._shared("store")
        calls.call("save", self._tree, self._store, self._home)
        shutil.rmtree(self._tree / ".b10_transfer")

    def measure(self, groups: Sequence[str], runs: int) -> None:
        """Run the rounds of some groups of operations."""
        if "half" in groups:
            shutil.copytree(self._tree, self._half)
            trees.half_of_tree(self._half)
        for number in range(runs):
            self._round = number
            tell(f"{self._place.name}, {self._files:,} artifacts: round {number + 1} of {runs}")
            for group in groups:
                GROUPS[group](self)
                self._fill(number + 1)

    def stored_bytes(self) -> dict[str, int]:
        """The bytes of the tree in the store, and in each archive that was made."""
        sizes = {OURS: _size(self._place.behind / "store")}
        for archive in self._archives:
            file = self._place.behind / f"{archive.name[-3:]}.archive"
            if file.exists():
                sizes[archive.name] = file.stat().st_size
        return sizes

    def load(self) -> None:
        """First load into an empty root, and a load when all is there."""
        root = self._place.local / "loaded"
        self._ours("first load", "load", root, self._store)
        self._ours("load of nothing new", "load", root, self._store)
        self._remove(root)
        if self._copies:
            copy = self._once("copy", lambda path: sticks.copy(self._tree, path))
            self._stick("first load", sticks.COPY, lambda: sticks.copy(copy, root))
            self._remove(root)
        for archive in self._archives:
            file = self._packed(archive)
            self._stick("first load", archive.name, lambda: sticks.unpack(archive, file, root))  # noqa: B023 - called at once
            self._remove(root)

        if self._asks_torch and not self._round:
            self._torch(root)

    def half(self) -> None:
        """Load where every second artifact is there already."""
        root = self._place.local / "half-loaded"
        shutil.copytree(self._half, root)
        self._ours("load beside half a tree", "load", root, self._store)
        self._remove(root)
        if self._copies:
            copy = self._once("copy", lambda path: sticks.copy(self._tree, path))
            shutil.copytree(self._half, root)
            self._stick("load beside half a tree", sticks.COPY, lambda: sticks.copy(copy, root))
            self._remove(root)

    def save(self) -> None:
        """First save of a tree that was compiled just now, and what saves come after it."""
        root, store = self._place.local / "compiled", self._shared(f"saved-{self._round}")
        trees.copy_tree(self._tree, root)
        self._ours("first save", "save", root, store)
        self._ours("save of nothing new, at once", "save", root, store)
        time.sleep(_GRAIN_SECONDS)
        calls.call("save", root, store, self._home)
        self._ours("save of nothing new, later", "save", root, store)
        self._ours("save to a second namespace", "save", root, store, B10_CACHE_NAMESPACE="second")
        trees.add_to_tree(root, self._files // 20)
        self._ours("save of 5 % more", "save", root, store)
        self._remove(root, store)
        if self._copies:
            target = self._place.shared / f"copied-{self._round}"
            self._stick("first save", sticks.COPY, lambda: sticks.copy(self._tree, target))
            self._remove(target)
        for archive in self._archives:
            file = self._place.shared / f"packed-{self._round}"
            self._stick(
                "first save",
                archive.name,
                lambda: sticks.pack(archive, self._tree, file),  # noqa: B023 - called at once
            )
            file.unlink(missing_ok=True)

    def look(self) -> None:
        """Look at the store and clean it: nothing is new in it, and nothing old."""
        for name in ("list", "info", "gc"):
            self._ours(name, name, self._tree, self._store)

    def _ours(self, operation: str, name: str, root: Path, store: Path, **variables: str) -> None:
        took = calls.call(name, root, store, self._home, **variables)
        self.figures[operation, OURS].append(took)

    def _stick(self, operation: str, name: str, action: Callable[[], Took]) -> None:
        known = [took.seconds for took in self.figures[operation, name] if took is not None]
        slow = len(known) >= _SLOW_STICK_RUNS and min(known) > _SLOW_STICK_SECONDS
        self.figures[operation, name].append(None if slow else action())

    def _fill(self, rounds: int) -> None:
        for series in self.figures.values():
            if series and len(series) < rounds:
                series.append(None)

    def _torch(self, root: Path) -> None:
        name, home = "torch.archive", self._home
        save = partial(torch_artifacts.save, self._tree, self._place.behind / name, home)
        load = partial(torch_artifacts.load, self._place.shared / name, root, home)
        self._stick("first save", torch_artifacts.NAME, save)
        self._stick("first load", torch_artifacts.NAME, load)
        self._remove(root)

    def _packed(self, archive: sticks.Archive) -> Path:
        return self._once(
            f"{archive.name[-3:]}.archive", lambda path: sticks.pack(archive, self._tree, path)
        )

    def _once(self, name: str, make: Callable[[Path], Took]) -> Path:
        if not (self._place.behind / name).exists():
            make(self._place.behind / name)
        return self._place.shared / name

    def _shared(self, name: str) -> Path:
        (self._place.behind / name).mkdir(exist_ok=True)
        return self._place.shared / name

    def _remove(self, *folders: Path) -> None:
        for folder in folders:
            if folder.is_relative_to(self._place.shared):
                folder = self._place.behind / folder.relative_to(self._place.shared)
            shutil.rmtree(folder, ignore_errors=True)


GROUPS: dict[str, Callable[[Rounds], None]] = {
    "load": Rounds.load,
    "half": Rounds.half,
    "save": Rounds.save,
    "look": Rounds.look,
}
"""Groups of operations, in the order in which a round runs them."""


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def names(text: str, known: Iterable[str]) -> list[str]:
    """Return the names in a list with commas, in the order of those that are known.

    Raises:
        ValueError: one is not known.
    """
    asked = text.split(",")
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: choose from {', '.join(known)}")
    return [name for name in known if name in asked]
