"""Real Triton kernels of which a file is missing or damaged: here, in the store, or on the way.

Triton takes a kernel's folder with a group and its notes for whole. It fails with a KeyError when
the device code is missing, with a JSONDecodeError when the notes, or the timings of an autotuned
kernel, were cut short, and uses damaged device code as it is. None of it may come of a load.
"""

from __future__ import annotations

import json
import shutil
import sys
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.cache_trees import Tree, read_tree, snapshot, write_tree
from tests.support.sites import Host, Site
from tests.support.triton_runs import TIMINGS, Made, make_in
from tools.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform != "linux", reason="Triton is published for Linux only"),
]

GROUP = "__grp__add.json"
NOTES = "add.json"
CODE = "add.cubin"
TEXTS = ("add.source", "add.ttir", "add.ttgir", "add.llir", "add.ptx")
FILES = (*TEXTS, CODE, NOTES, GROUP)
"""What Triton keeps of the kernel that is damaged."""

TUNED = "add.autotune.json"
JSON_ERROR = "JSONDecodeError"

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "empty": lambda _: b"",
}
GONE = "gone"

TRITON, IN_INDUCTOR = "triton", "inductor/triton/0"
PLACES = [
    pytest.param(TRITON, FILES, id="in its own root"),
    pytest.param(IN_INDUCTOR, (CODE, NOTES, GROUP), id="inside that of Inductor"),
]
"""Where the kernels lie in a host's folder, and which of their files are damaged."""


class Compiled(NamedTuple):
    """What one process compiled.

    Attributes:
        replica: runs more processes.
        folder: where it was compiled.
        tree: what is there.
        made: of each kernel.
    """

    replica: Replica
    folder: Path
    tree: Tree
    made: dict[str, Made]

    def path(self, name: str) -> str:
        """Where the file of that name lies in the tree."""
        (path,) = [path for path in self.tree if path.rpartition("/")[2] == name]
        return path

    def tree_in(self, folder: Path) -> Tree:
        """The tree as it is when it was compiled in another folder."""
        there, here = str(self.folder).encode(), str(folder).encode()
        return {
            path: data.replace(there, here) if "__grp__" in path else data
            for path, data in self.tree.items()
        }

    def damaged(self, folder: Path, changes: Mapping[str, str]) -> Tree:
        """The tree in another folder, with damage of some kind to the files of some names."""
        tree = self.tree_in(folder)
        for name, kind in changes.items():
            data = tree.pop(self.path(name))
            if kind != GONE:
                tree[self.path(name)] = DAMAGE[kind](data)
        return tree

    def kernel_in(self, folder: Path) -> Path:
        """The folder of the kernel that is damaged."""
        return folder / self.path(NOTES).rpartition("/")[0]

    def faults(self, made: Mapping[str, Made], hits: Mapping[str, bool]) -> list[str]:
        """What is wrong with what a process made; what `hits` does not name shall be a hit."""
        right = {name: item.found(hit=hits.get(name, True)) for name, item in self.made.items()}
        return [
            f"{name}: {made[name].error or f'hit {made[name].hit}'}"
            for name, item in right.items()
            if made[name] != item
        ]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    home = tmp_path_factory.mktemp("compiled")
    replica = Replica(home / "none", home / "inductor", home / "home", home / "tmp")
    folder = home / "triton"
    (made,) = make_in(replica, [folder])
    assert {item.hit for item in made.values()} == {False}
    return Compiled(replica, folder, read_tree(folder), made)


def label(changes: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in changes.items())


def test_triton_fails_on_damaged_folders_itself(compiled: Compiled, tmp_path: Path) -> None:
    # What the other tests say is not so for nothing.
    failing = {
        **{f"{name} {kind}": JSON_ERROR for name in (NOTES, TUNED) for kind in DAMAGE},
        f"{CODE} {GONE}": "KeyError",
    }
    cases = [{name: kind} for name, kind in product((*FILES, TUNED), (GONE, *DAMAGE))]
    folders = [tmp_path / str(number) for number in range(len(cases))]
    for folder, case in zip(folders, cases, strict=True):
        write_tree(folder, compiled.damaged(folder, case))
    answers = dict(zip(map(label, cases), make_in(compiled.replica, folders), strict=True))
    errors = {case: "".join(item.error for item in made.values()) for case, made in answers.items()}
    assert {case: error for case, error in errors.items() if error} == failing
    for kind in DAMAGE:
        damaged = answers[f"{CODE} {kind}"]["add"]
        assert damaged.hit
        assert damaged.code != compiled.made["add"].code


@pytest.mark.parametrize(("place", "names"), PLACES)
def test_what_was_damaged_before_the_save_is_not_spread(
    compiled: Compiled, site: Site, place: str, names: tuple[str, ...]
) -> None:
    cases = [{name: kind} for name, kind in product((*names, TUNED), (GONE, *DAMAGE))]
    folders: list[Path] = []
    for case in cases:
        own = Site(site.folder / label(case))
        saver, loader = own.host("saver"), own.host("loader")
        write_tree(saver.folder / place, compiled.damaged(saver.folder / place, case))
        saver.save()
        assert loader.load().loaded > 0
        folders.append(loader.folder / place)
    faults: list[str] = []
    for case, made in zip(cases, make_in(compiled.replica, folders), strict=True):
        ((name, kind),) = case.items()
        # Only people read the texts: where one ends is not looked for.
        is_found = name in TEXTS and kind == "cut"
        hits = {TIMINGS: False} if name == TUNED else {"add": is_found}
        faults += [f"{label(case)}: {line}" for line in compiled.faults(made, hits)]
    assert faults == []


def test_device_code_that_is_cut_short_anywhere_is_not_saved(
    compiled: Compiled, site: Site
) -> None:
    code = compiled.tree[compiled.path(CODE)]
    for size in (*range(0, len(code), len(code) // 20), len(code) - 1):
        own = Site(site.folder / str(size))
        saver, loader = own.host("saver"), own.host("loader")
        tree = compiled.tree_in(saver.triton)
        write_tree(saver.triton, {**tree, compiled.path(CODE): code[:size]})
        saver.save()
        loader.load()
        assert not compiled.kernel_in(loader.triton).exists(), size


# Damage in the store.


def save_in_packs(compiled: Compiled, saver: Host, place: str) -> dict[str, str]:
    """Save the kernels so that each file of the one lies in a pack of its own.

    Returns:
        The pack of each file, by the file's name.
    """
    root, store = saver.folder / place, Site(saver.store.parent)
    tree = compiled.tree_in(root)
    own = {name: compiled.path(name) for name in FILES}
    write_tree(root, {path: data for path, data in tree.items() if path not in own.values()})
    saver.save()
    packs: dict[str, str] = {}
    for name, path in own.items():
        known = set(store.files("packs"))
        write_tree(root, {path: tree[path]})
        saver.save()
        (new,) = set(store.files("packs")) - known
        packs[name] = new.name
    return packs


@pytest.mark.parametrize(("place", "names"), PLACES)
def test_of_a_kernel_that_is_damaged_in_the_store_nothing_is_placed(
    compiled: Compiled, site: Site, place: str, names: tuple[str, ...]
) -> None:
    packs = save_in_packs(compiled, site.host("saver"), place)
    cases = [{name: kind} for name, kind in product(names, (GONE, "cut", "zeros"))]
    folders: list[Path] = []
    for case in cases:
        ((name, kind),) = case.items()
        own = Site(site.folder / label(case))
        shutil.copytree(site.store, own.store)
        pack = own.store / "packs" / packs[name]
        if kind == GONE:
            pack.unlink()
        else:
            pack.write_bytes(DAMAGE[kind](pack.read_bytes()))
        loader = own.host("loader")
        report = loader.load()
        assert (report.loaded, report.unavailable) == (len(compiled.tree) - len(FILES), len(FILES))
        assert not compiled.kernel_in(loader.folder / place).exists()
        folders.append(loader.folder / place)
    answers = zip(cases, make_in(compiled.replica, folders), strict=True)
    faults = [
        f"{label(case)}: {line}"
        for case, made in answers
        for line in compiled.faults(made, {"add": False})
    ]
    assert faults == []


# A kernel of which a part is here before the load.


@pytest.fixture
def saved(compiled: Compiled, site: Site) -> Callable[[str], Site]:
    """Makes a site of which the store has the kernels."""

    def save(place: str) -> Site:
        saver = site.host("saver")
        write_tree(saver.folder / place, compiled.tree_in(saver.folder / place))
        assert saver.save().added == len(compiled.tree)
        return site

    return save


def content_of(tree: Tree) -> dict[str, object]:
    """The files by path; of groups what they say, and not in which order."""
    return {path: json.loads(data) if "__grp__" in path else data for path, data in tree.items()}


def without_others(names: Iterable[str]) -> dict[str, str]:
    return {name: GONE for name in FILES if name not in names}


@pytest.mark.parametrize(("place", "names"), PLACES)
def test_what_lacks_here_of_a_kernel_is_brought(
    compiled: Compiled, saved: Callable[[str], Site], place: str, names: tuple[str, ...]
) -> None:
    site = saved(place)
    cases = [*({name: GONE} for name in names), *(without_others([name]) for name in names)]
    folders: list[Path] = []
    for number, case in enumerate(cases):
        host = site.host(f"host-{number}")
        folder = host.folder / place
        write_tree(folder, compiled.damaged(folder, case))
        report = host.load()
        assert (report.loaded, report.unavailable, report.problems) == (len(case), 0, ()), label(
            case
        )
        assert content_of(read_tree(folder)) == content_of(compiled.tree_in(folder)), label(case)
        folders.append(folder)
    answers = zip(cases, make_in(compiled.replica, folders), strict=True)
    faults = [
        f"{label(case)}: {line}" for case, made in answers for line in compiled.faults(made, {})
    ]
    assert faults == []


@pytest.mark.parametrize(("place", "names"), PLACES)
def test_a_kernel_that_is_damaged_here_is_made_no_worse(
    compiled: Compiled, saved: Callable[[str], Site], place: str, names: tuple[str, ...]
) -> None:
    # Completed with its group and its notes, Triton would take it for whole.
    site = saved(place)
    cases = [
        {**others, name: kind}
        for name, kind in product(names, DAMAGE)
        for others in ({}, {GROUP: GONE}, {NOTES: GONE}, without_others([name]))
        if name not in others
    ]
    loaded: list[Path] = []
    untouched: list[Path] = []
    for number, case in enumerate(cases):
        host, other = site.host(f"host-{number}"), site.host(f"other-{number}")
        for folders, owner in ((loaded, host), (untouched, other)):
            folders.append(owner.folder / place)
            write_tree(folders[-1], compiled.damaged(folders[-1], case))
        kernel = compiled.kernel_in(loaded[-1])
        before = snapshot(kernel)
        report = host.load()
        assert snapshot(kernel) == before, label(case)
        missing = list(case.values()).count(GONE)
        assert (report.loaded, report.unavailable) == (0, missing), label(case)
        assert len(report.problems) == bool(missing)
        assert all("a part of the same kernel is here" in line for line in report.problems)
    made = make_in(compiled.replica, [*loaded, *untouched])
    with_load, without = made[: len(cases)], made[len(cases) :]
    assert with_load == without
    # One that has its group and its notes, damaged or not, is as the user left it.
    faults = [
        f"{label(case)}: {line}"
        for case, answer in zip(cases, with_load, strict=True)
        if len(case) > 1
        for line in compiled.faults(answer, {"add": False})
    ]
    assert faults == []
