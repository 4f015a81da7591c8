"""Cache roots that others can write to, and cache roots that are no folders for a cache.

Nothing of it fails a load or a save: the report says, in a line that names the folder, what is
wrong and what to do about it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from b10_transfer import CacheError
from b10_transfer import OperationStatus as Status
from b10_transfer.local.targets import choose_targets
from b10_transfer.operations import transfer
from tests.support.bare_machines import lines_about
from tests.support.cache_trees import (
    TRITON_HASH,
    compiled_graph,
    elf,
    read_tree,
    triton_kernel,
    write_tree,
)
from tests.support.crowd import OTHER_USER

if TYPE_CHECKING:
    from tests.support.sites import Host, Site

TREE = compiled_graph("model")
MORE = compiled_graph("another model", 1)

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)


# A cache root that others can write to.


def assert_told_but_used(host: Host, path: str, *parts: str) -> None:
    """A load and a save name the root, and use it all the same."""
    report = host.load(PATH=path)
    assert (report.status, report.loaded) == (Status.SUCCESS, len(TREE))
    assert len(lines_about(report.problems, str(host.root), *parts)) == 1
    host.write(MORE)
    saved = host.save(PATH=path)
    assert (saved.status, saved.added) == (Status.SUCCESS, len(MORE))
    assert len(lines_about(saved.problems, str(host.root), *parts)) == 1


def assert_refused_when_strict(host: Host, path: str, *parts: str) -> None:
    """A load and a save name the root, and neither write to it nor read from it."""
    before = sorted(os.listdir(host.root))
    report = host.load(PATH=path, B10_STRICT_ROOTS="1")
    assert report.status is Status.DOES_NOT_EXIST
    assert (report.loaded, report.not_for_host) == (0, len(TREE))
    saved = host.save(PATH=path, B10_STRICT_ROOTS="1")
    assert saved.status is Status.SKIPPED
    assert saved.found == 0
    for problems in (report.problems, saved.problems):
        (line,) = lines_about(problems, str(host.root), *parts)
        assert "it is left out because of B10_STRICT_ROOTS" in line
    assert sorted(os.listdir(host.root)) == before


ANOTHERS = "belongs to another user (uid 65534"
EVERYBODYS = "can be written by every user"


@needs_root
def test_a_root_of_another_user_is_named_and_used(saved: Site, ordinary: str) -> None:
    host = saved.host("host")
    host.root.mkdir(parents=True)
    os.chown(host.root, OTHER_USER, OTHER_USER)
    assert_told_but_used(host, ordinary, ANOTHERS, "chown", "can run code here")


@needs_root
def test_a_root_of_another_user_is_left_out_when_that_is_asked_for(
    saved: Site, ordinary: str
) -> None:
    host = saved.host("host", MORE)
    os.chown(host.root, OTHER_USER, OTHER_USER)
    assert_refused_when_strict(host, ordinary, ANOTHERS, "chown")


def test_a_root_that_all_can_write_to_is_named_and_used(saved: Site, ordinary: str) -> None:
    host = saved.host("host")
    host.root.mkdir(parents=True)
    host.root.chmod(0o777)
    assert_told_but_used(host, ordinary, EVERYBODYS, "chmod", "can run code here")


def test_a_root_that_all_can_write_to_is_left_out_when_that_is_asked_for(
    saved: Site, ordinary: str
) -> None:
    host = saved.host("host", MORE)
    host.root.chmod(0o777)
    assert_refused_when_strict(host, ordinary, EVERYBODYS, "chmod")


@pytest.mark.parametrize("strict", ["0", "1"])
def test_a_link_to_a_folder_that_all_can_write_to_is_as_open_as_that(
    saved: Site, ordinary: str, strict: str
) -> None:
    host = saved.host("host")
    shared = host.folder / "shared"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    host.root.symlink_to(shared)
    report = host.load(PATH=ordinary, B10_STRICT_ROOTS=strict)
    assert len(lines_about(report.problems, str(host.root), EVERYBODYS)) == 1
    assert report.loaded == (0 if strict == "1" else len(TREE))


@needs_root
@pytest.mark.parametrize("strict", ["0", "1"])
def test_a_root_behind_a_link_of_another_user_is_not_used(
    saved: Site, ordinary: str, strict: str
) -> None:
    host = saved.host("host", MORE)
    victim = host.folder / "victim"
    host.root.rename(victim)
    host.root.symlink_to(victim)
    os.chown(host.root, OTHER_USER, OTHER_USER, follow_symlinks=False)
    host.folder.chmod(0o1777)
    before = read_tree(victim)
    report = host.load(PATH=ordinary, B10_STRICT_ROOTS=strict)
    assert report.loaded == 0
    saved_report = host.save(PATH=ordinary, B10_STRICT_ROOTS=strict)
    assert saved_report.found == 0
    for problems in (report.problems, saved_report.problems):
        (line,) = lines_about(problems, str(host.root), "is not used: a link of another user")
        assert "remove the link" in line
    assert read_tree(victim) == before
    assert not (victim / ".b10_transfer").exists()


def test_the_sticky_bit_keeps_nobody_from_adding_files(saved: Site, ordinary: str) -> None:
    host = saved.host("host", MORE)
    host.root.chmod(0o1777)
    assert_refused_when_strict(host, ordinary, EVERYBODYS, "chmod")
    report = host.load(PATH=ordinary)
    assert len(lines_about(report.problems, str(host.root), EVERYBODYS)) == 1
    assert report.loaded == len(TREE)


# What others could have written within a root of one's own, where that is asked for.


@needs_root
@pytest.mark.parametrize("kind", ["open folder", "another's folder", "another's file", "open file"])
def test_what_others_could_have_written_is_left_out_and_named_when_that_is_asked_for(
    saved: Site, ordinary: str, kind: str
) -> None:
    host = saved.host("host", {**MORE, "zz/czz.py": b"theirs = 1"})
    place = host.root / ("zz" if "folder" in kind else "zz/czz.py")
    if "another" in kind:
        os.chown(place, OTHER_USER, OTHER_USER)
    else:
        place.chmod(0o777)
    report = host.save(PATH=ordinary, B10_STRICT_ROOTS="1")
    assert (report.added, report.left_out) == (len(MORE), 1)
    ((reason, files),) = report.left_out_files.items()
    assert files == (str(place),)
    assert reason in (f"belongs to uid {OTHER_USER}", "can be written by others (mode 777)")
    assert host.save(PATH=ordinary).added == 1, "by default it is saved"


def test_nothing_is_placed_where_others_could_replace_it_when_that_is_asked_for(
    saved: Site, ordinary: str
) -> None:
    host = saved.host("host")
    folder = host.root / next(path for path in sorted(TREE) if "/" in path).split("/")[0]
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    (folder / "theirs").write_bytes(b"")
    report = host.load(PATH=ordinary, B10_STRICT_ROOTS="1")
    assert os.listdir(folder) == ["theirs"]
    assert len(lines_about(report.problems, f"{folder} is in the way: can be written")) == 1
    assert 0 < report.loaded < len(TREE)


@needs_root
@pytest.mark.parametrize("strict", ["0", "1"])
def test_a_root_that_another_user_makes_after_the_look_at_it_is_refused_or_named(
    saved: Site, ordinary: str, strict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = saved.host("host")

    def squat(*arguments: Any) -> Any:
        host.root.mkdir(parents=True)
        os.chown(host.root, OTHER_USER, OTHER_USER)
        return choose_targets(*arguments)

    monkeypatch.setattr("b10_transfer.operations.load.choose_targets", squat)
    if strict == "1":
        with pytest.raises(CacheError, match=rf"belongs to another user .uid {OTHER_USER}"):
            host.load(PATH=ordinary, B10_STRICT_ROOTS=strict)
        assert os.listdir(host.root) == []
        return
    report = host.load(PATH=ordinary)
    assert report.loaded == len(TREE)
    assert len(lines_about(report.problems, str(host.root), ANOTHERS, "can run code here")) == 1


def test_a_root_that_is_made_for_a_load_is_nobody_elses_when_that_is_asked_for(
    saved: Site, ordinary: str
) -> None:
    host = saved.host("host")
    host.settings()
    before = os.umask(0)
    try:
        report = host.load(PATH=ordinary, B10_STRICT_ROOTS="1")
    finally:
        os.umask(before)
    assert report.loaded == len(TREE)
    assert host.root.stat().st_mode & 0o777 == 0o700


def test_the_other_roots_are_used_when_one_is_left_out(saved: Site, ordinary: str) -> None:
    saver = saved.host("saver")
    kernel = triton_kernel(saver.triton / TRITON_HASH)
    write_tree(saver.triton / TRITON_HASH, kernel)
    saver.save(PATH=ordinary)
    host = saved.host("host")
    host.root.mkdir(parents=True)
    host.root.chmod(0o777)
    report = host.load(PATH=ordinary, B10_STRICT_ROOTS="1")
    assert (report.loaded, report.not_for_host) == (len(kernel), len(TREE))
    assert read_tree(host.triton).keys() == {f"{TRITON_HASH}/{name}" for name in kernel}


# A folder above a cache root: whoever can write there can put another root in its place.


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o770])
def test_a_folder_above_that_others_can_write_to_counts_when_that_is_asked_for(
    saved: Site, ordinary: str, mode: int
) -> None:
    host = saved.host("host", MORE)
    host.folder.chmod(mode)
    words = f"lies in {host.folder}, which can be written by others (mode {mode:o})"
    assert_refused_when_strict(host, ordinary, words)
    report = host.load(PATH=ordinary)
    assert (report.loaded, report.problems) == (len(TREE), ())


@needs_root
def test_a_folder_above_of_another_user_counts_when_that_is_asked_for(
    saved: Site, ordinary: str
) -> None:
    host = saved.host("host", MORE)
    os.chown(host.folder, OTHER_USER, OTHER_USER)
    words = f"lies in {host.folder}, which belongs to uid {OTHER_USER}"
    assert_refused_when_strict(host, ordinary, words)
    assert host.load(PATH=ordinary).problems == ()


def test_a_folder_above_with_the_sticky_bit_is_safe(saved: Site, ordinary: str) -> None:
    host = saved.host("host", MORE)
    host.folder.chmod(0o1777)
    report = host.load(PATH=ordinary, B10_STRICT_ROOTS="1")
    assert (report.loaded, report.problems) == (len(TREE), ())


# Folders of the system, and of the store.

OPTIONAL = ["VLLM_CACHE_ROOT", "SGLANG_CACHE_DIR", "TILELANG_CACHE_DIR", "CUTE_DSL_CACHE_DIR"]


@pytest.mark.parametrize("folder", ["/usr", "/", "/tmp", "/etc/"])  # noqa: S108  # to be refused
@pytest.mark.parametrize("variable", OPTIONAL)
def test_a_root_that_is_a_folder_of_the_system_is_named_and_left_out(
    saved: Site, ordinary: str, variable: str, folder: str
) -> None:
    host = saved.host("host")
    changes: dict[str, str | None] = {"PATH": ordinary, variable: folder}
    report = transfer.load(host.settings(**changes))
    assert (report.status, report.loaded) == (Status.SUCCESS, len(TREE))
    host.write(MORE)
    stored = transfer.save(host.settings(**changes))
    assert (stored.status, stored.added) == (Status.SUCCESS, len(MORE))
    for problems in (report.problems, stored.problems):
        (line,) = problems
        assert f"{variable}='{folder.rstrip('/') or '/'}'" in line
        assert "is a folder of the system or of the user: give one below it" in line
        assert "it is left out" in line


def test_a_root_around_the_store_is_named_and_left_out_but_not_the_roots_within_it(
    saved: Site, ordinary: str
) -> None:
    changes: dict[str, str | None] = {"PATH": ordinary, "TILELANG_CACHE_DIR": str(saved.folder)}
    host = saved.host("host")
    report = transfer.load(host.settings(**changes))
    assert (report.status, report.loaded) == (Status.SUCCESS, len(TREE))
    host.write(MORE)
    stored = transfer.save(host.settings(**changes))
    for problems in (report.problems, stored.problems):
        (line,) = problems
        for part in ("tilelang", str(saved.folder), str(saved.store), "it is left out"):
            assert part in line
    assert (stored.status, stored.added) == (Status.SUCCESS, len(MORE))


@pytest.mark.parametrize("operation", ["load", "save"])
def test_a_root_that_most_models_need_is_not_left_out_silently(saved: Site, operation: str) -> None:
    host = saved.host("host", {"ab/kernel.so": elf()})
    with pytest.raises(CacheError, match="TRITON_CACHE_DIR='/usr' is a folder of the system"):
        getattr(host, operation)(TRITON_CACHE_DIR="/usr")
