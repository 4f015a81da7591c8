"""The commands that look after a store: gc, check and remove."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from b10_transfer.cli import main
from b10_transfer.operations import upkeep
from tests.support.cache_trees import compiled_graph, snapshot
from tests.support.checked_stores import flipped
from tests.support.cli_runs import FOUND_PROBLEMS, NOT_STORED, USAGE, checked, failed, ran
from tests.support.programs import run_python
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Host

TREE, OTHER_TREE = compiled_graph("model"), compiled_graph("other")
DAY = 86400.0

GC_TYPES: dict[str, tuple[type, ...]] = {
    "refused": (list,),
    "unwritten": (list,),
    "trashed_packs": (int,),
    "trashed_bytes": (int,),
    "superseded": (int,),
    "expired": (list,),
    "freed_files": (int,),
    "freed_bytes": (int,),
    "restored": (int,),
    "rewritten_bytes": (int,),
    "verified_bytes": (int,),
    "damaged": (list,),
    "fenced": (int,),
    "swept": (int,),
    "waiting_files": (int,),
    "free_at": (float, type(None)),
    "is_complete": (bool,),
}
CHECK_TYPES: dict[str, tuple[type, ...]] = {
    "manifests": (int,),
    "packs": (int,),
    "verified_bytes": (int,),
    "faults": (list,),
}
FAULT_TYPES: dict[str, tuple[type, ...]] = dict.fromkeys(
    ("name", "damage", "reason", "repaired"), (str,)
)
UNDO_TYPES: dict[str, tuple[type, ...]] = {
    "address": (str,),
    "manifests": (int,),
    "packs": (int,),
    "missing": (int,),
    "unusable": (list,),
}


@pytest.fixture
def host(site: Site, monkeypatch: pytest.MonkeyPatch) -> Host:
    """This process is a host that saved, and saved something else in a namespace."""
    site.host("other", OTHER_TREE).save(B10_CACHE_NAMESPACE="my-model")
    found = become(site.host("host", TREE), monkeypatch)
    found.save()
    return found


def key(site: Site) -> str:
    return site.files("manifests")[0].name.partition("~")[0].partition(".")[0]


def leave_unreferenced(site: Site) -> Path:
    pack = site.store / "packs" / f"{'0' * 64}.pack"
    pack.write_bytes(b"pack")
    then = time.time() - 2 * DAY
    os.utime(pack, (then, then))
    return pack


# gc


def test_gc_prints_what_it_moved_to_trash_and_when_that_may_be_freed(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert host.store == site.store
    pack = leave_unreferenced(site)
    before = time.time()
    out = ran("gc", capsys)
    assert "to trash: 1 pack (4 B)" in out
    # Midnight may come in between.
    days = [time.strftime("%Y-%m-%d", time.gmtime(now + DAY)) for now in (before, time.time())]
    assert any(f"in trash: 1 file, to be deleted from {day}" in out for day in days)
    assert not pack.exists()
    assert "to trash: nothing" in ran("gc", capsys)


def test_gc_names_what_expired(
    site: Site,
    host: Host,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    become(host, monkeypatch, B10_CACHE_MAX_AGE_DAYS="1")
    for path in site.files("manifests"):
        if "my-model" in path.name:
            os.utime(path, (0, 0))
    address = f"{key(site)}.my-model"
    assert f"  expired: {address}\n" in ran("gc --dry-run", capsys)
    found = checked(ran("gc --dry-run --json", capsys), GC_TYPES)
    assert found["expired"] == [{"environment_key": key(site), "namespace": "my-model"}]
    assert f"  expired: {address}\n" in ran("gc", capsys)


@pytest.mark.parametrize(
    "arguments", ["gc --dry-run", "gc --dry-run --json", "gc --dry-run --wait"]
)
def test_a_dry_run_tells_and_changes_nothing(
    site: Site, host: Host, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_unreferenced(site)
    before = snapshot(host.store)
    out = ran(arguments, capsys)
    assert ("to trash: 1 pack" in out) or json.loads(out)["trashed_packs"] == 1
    assert snapshot(host.store) == before


def test_gc_as_json_has_all_its_names(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert host.tree()
    assert checked(ran("gc --json", capsys), GC_TYPES)["free_at"] is None
    leave_unreferenced(site)
    found = checked(ran("gc --json", capsys), GC_TYPES)
    assert found["trashed_packs"] == 1
    assert found["free_at"] == pytest.approx(time.time() + DAY, abs=600)


@pytest.mark.parametrize("arguments", ["gc", "gc --json", "gc --dry-run", "gc --wait"])
def test_gc_that_refuses_says_why_and_ends_with_1(
    site: Site, host: Host, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site.files("manifests")[0].write_bytes(b"damaged")
    leave_unreferenced(site)
    out = ran(arguments, capsys, FOUND_PROBLEMS)
    assert site.files("manifests")[0].name in out
    assert len(site.files("packs")) == 3
    assert host.tree()


@pytest.mark.parametrize("arguments", ["gc", "gc --json"])
def test_gc_names_a_damaged_pack_and_ends_with_1(
    site: Site, host: Host, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert host.tree()
    pack = site.files("packs")[0]
    pack.write_bytes(flipped(pack.read_bytes()))
    then = time.time() - 2 * DAY
    for file in site.files("packs"):
        os.utime(file, (then, then))
    out = ran(arguments, capsys, FOUND_PROBLEMS)
    assert f"packs/{pack.name}: its bytes do not match" in " ".join(out.split())
    assert site.files("packs")[0] == pack


def test_gc_waits_until_trash_is_empty_and_prints_a_line_of_json_for_each_visit(
    site: Site,
    host: Host,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave_unreferenced(site)
    pauses: list[float] = []

    def pass_time(seconds: float) -> None:
        pauses.append(seconds)
        for path in site.store.rglob("*"):
            if path.is_file():
                then = path.stat().st_mtime - DAY
                os.utime(path, (then, then))

    monkeypatch.setattr(upkeep, "time", SimpleNamespace(sleep=pass_time))
    lines = ran("gc --wait --json", capsys).splitlines()
    visits = [checked(line, GC_TYPES) for line in lines]
    assert len(visits) == len(pauses) + 1 == 4
    assert set(pauses) == {600.0}
    assert [visit["waiting_files"] for visit in visits] == [1, 1, 1, 0]
    assert visits[-1]["freed_files"] == 1
    assert host.tree()


# check


def test_check_of_a_store_in_order_ends_with_0(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(host.store)
    assert ran("check", capsys) == "2 manifests and 2 packs intact; 0 faults\n"
    assert "B verified; 0 faults" in ran("check --read-data", capsys)
    found = checked(ran("check --json --read-data", capsys), CHECK_TYPES)
    assert (found["manifests"], found["packs"], found["faults"]) == (2, 2, [])
    assert found["verified_bytes"] > 0
    assert snapshot(host.store) == before


def test_check_tells_each_fault_and_ends_with_1(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = site.files("packs")
    first.write_bytes(flipped(first.read_bytes()))
    second.unlink()
    before = snapshot(host.store)
    out = ran("check --read-data", capsys, FOUND_PROBLEMS)
    assert f"!! packs/{first.name}: damaged: " in out
    assert f"!! packs/{second.name}: missing: " in out
    assert "2 manifests and 0 packs intact, 0 B verified; 2 faults\n" in out
    assert "--repair" in out
    found = checked(ran("check --read-data --json", capsys, FOUND_PROBLEMS), CHECK_TYPES)
    for fault in found["faults"]:
        checked(json.dumps(fault), FAULT_TYPES)
    assert {fault["damage"] for fault in found["faults"]} == {"damaged", "missing"}
    assert snapshot(host.store) == before


def test_check_repairs_and_tells_what_it_did(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = site.files("packs")
    first.write_bytes(b"damaged")
    out = ran("check --repair", capsys, FOUND_PROBLEMS)
    assert f"moved to quarantine/{first.name}; " in out
    for saver in (host, site.host("other")):
        saver.save(B10_CACHE_NAMESPACE="my-model" if saver is not host else None)
    assert "0 faults" in ran("check --read-data", capsys)


# remove


@pytest.mark.parametrize("digits", [1, 6, 32])
def test_remove_takes_the_first_digits_of_a_key(
    site: Site, host: Host, digits: int, capsys: pytest.CaptureFixture[str]
) -> None:
    start = key(site)[:digits]
    assert "1 manifest moved to trash; --undo" in ran(f"remove {start}", capsys)
    (left,) = site.files("manifests")
    assert ".my-model~" in left.name
    out = ran(f"remove {start} --undo", capsys)
    assert "1 manifest and 0 packs back\n" in out
    assert len(site.files("manifests")) == 2
    assert host.load().problems == ()


def test_remove_of_a_namespace_leaves_the_others(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    removed = json.loads(ran(f"remove {key(site)[:4]}.my-model --json", capsys))
    assert removed == {"address": f"{key(site)}.my-model", "manifests": 1}
    fresh = site.host("fresh")
    assert fresh.load().loaded == len(TREE)
    assert fresh.load(B10_CACHE_NAMESPACE="my-model").status.name == "DOES_NOT_EXIST"
    assert host.tree() == TREE
    found = checked(ran(f"remove {key(site)[:4]}.my-model --undo --json", capsys), UNDO_TYPES)
    assert found == {
        "address": f"{key(site)}.my-model",
        "manifests": 1,
        "packs": 0,
        "missing": 0,
        "unusable": [],
    }


def test_remove_of_what_is_not_there_fails_and_says_what_is(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(host.store)
    for address in ("xyz", f"{key(site)}0", f"{key(site)[:6]}.my-mode", ".my-other"):
        line = failed(f"remove {address}", capsys, NOT_STORED)
        assert repr(address) in line
        assert f"stored; there is: {key(site)}, {key(site)}.my-model" in line
    assert "in trash; there is: nothing" in failed(f"remove {key(site)} --undo", capsys, NOT_STORED)
    assert snapshot(host.store) == before


def test_remove_asks_for_more_where_several_begin_so(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    (own,) = [path for path in site.files("manifests") if "my-model" not in path.name]
    other = key(site)[:5] + ("0" if key(site)[5] != "0" else "1") * 27
    own.with_name(own.name.replace(key(site), other)).write_bytes(own.read_bytes())
    before = snapshot(host.store)
    line = failed(f"remove {key(site)[:5]}", capsys, USAGE)
    assert "could be any of" in line
    assert key(site) in line
    assert other in line
    assert main(["remove", ""]) == USAGE
    assert snapshot(host.store) == before
    assert "to trash" in capsys.readouterr().out + ran(f"remove {key(site)}", capsys)


def test_an_undo_that_finds_packs_gone_ends_with_1(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(f"remove {key(site)}", capsys)
    for path in site.files("packs"):
        path.unlink()
    assert "1 pack gone" in ran(f"remove {key(site)} --undo", capsys, FOUND_PROBLEMS)
    host.save()
    assert host.tree() == TREE


def test_an_undo_that_finds_a_damaged_manifest_ends_with_1(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(f"remove {key(site)}", capsys)
    (trashed,) = (host.store / "trash").rglob("*.manifest")
    trashed.write_bytes(b"damaged")
    out = ran(f"remove {key(site)} --undo", capsys, FOUND_PROBLEMS)
    assert f"!! {trashed.name.removesuffix('.manifest')}: damaged; it stays in trash" in out


# Stores that are not there, or cannot be used.


def test_where_there_is_no_store_every_command_says_so_and_makes_none(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(site.host("host"), monkeypatch)
    for arguments in ("gc", "gc --dry-run", "gc --wait", "check", "check --repair"):
        assert f"there is no folder {site.store}" in failed(arguments, capsys, NOT_STORED)
    for arguments in ("remove 3f", "remove 3f --undo"):
        assert "there is: nothing" in failed(arguments, capsys, NOT_STORED)
    assert not site.store.exists()
    site.store.mkdir()
    for arguments in ("gc", "gc --dry-run", "gc --wait", "check", "check --repair"):
        assert "there is no store here" in ran(arguments, capsys, FOUND_PROBLEMS)


COMMANDS = ["gc", "gc --dry-run", "check", "check --repair", "remove 3f", "remove 3f --undo"]


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_store_that_cannot_be_read_is_told_in_a_line(
    site: Site,
    arguments: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    become(site.host("host"), monkeypatch)
    site.store.write_bytes(b"a file")
    assert str(site.store) in failed(arguments, capsys)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_store_of_another_release_is_left_alone(
    site: Site, host: Host, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (host.store / "FORMAT").write_bytes(b"somebody else's file, of quite another form")
    before = snapshot(site.store)
    assert "use the release that wrote it" in failed(arguments, capsys)
    assert snapshot(site.store) == before


@pytest.mark.parametrize("arguments", ["gc --now", "check store", "remove", "remove a b"])
def test_arguments_that_are_not_known_end_with_2(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert f"usage: b10-transfer {arguments.split()[0]} " in err


def test_a_host_without_torch_and_cache_roots_can_look_after_a_store(site: Site) -> None:
    saver = site.host("saver", TREE)
    saver.save()
    settings = {
        # Roots that no load or save would use; and nothing here needs them.
        "TORCHINDUCTOR_CACHE_DIR": str(site.store / "inductor"),
        "BASETEN_FS_ENABLED": None,
        "HOME": None,
        "USER": None,
    }
    code = """
import sys
for name in ("torch", "triton"):
    sys.modules[name] = None
from b10_transfer.cli import main
for arguments in (["gc"], ["check"], ["remove", ""]):
    sys.stderr.write(f"{main(arguments)} ")
"""
    done = run_python(code, saver.variables(**settings))
    assert done.stderr.startswith("0 0 b10-transfer: '' could be any of: ")
