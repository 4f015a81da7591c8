"""The command that lists what is stored."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import Address
from b10_store.remote.folder import FolderRemote
from b10_transfer.cli import main
from b10_transfer.operations import inspect as inspection
from tests.support.cache_trees import compiled_graph, snapshot
from tests.support.cli_runs import DONE, FAILED, NOT_STORED, ROW_TYPES, checked, failed, ran
from tests.support.fleets import FLEET_KEY
from tests.support.machines import CPU_MACHINE
from tests.support.mounts import read_only
from tests.support.programs import run_python
from tests.support.published import publish
from tests.support.sites import Site, become
from tests.support.values import entry, manifest

if TYPE_CHECKING:
    from tests.support.sites import Host

TREE, OTHER_TREE = compiled_graph("model"), compiled_graph("other", 1)
KEY = "0123456789abcdef0123456789abcde"

LIST_TYPES: dict[str, tuple[type, ...]] = {
    "store": (str,),
    "exists": (bool,),
    "enabled": (bool,),
    "environment_key": (str, type(None)),
    "namespace": (str,),
    "pack_bytes": (int, type(None)),
    "stored": (list,),
    "problems": (list,),
}


@pytest.fixture
def host(site: Site, monkeypatch: pytest.MonkeyPatch) -> Host:
    """This process is a host that saved, after another did in a namespace."""
    site.host("other", OTHER_TREE).save(B10_CACHE_NAMESPACE="flux")
    time.sleep(0.002)
    found = become(site.host("host", TREE), monkeypatch)
    found.save()
    return found


def own_key(site: Site) -> str:
    return site.files("manifests")[0].name.partition("~")[0].partition(".")[0]


def test_list_has_a_row_for_each_namespace_and_marks_what_a_load_would_bring(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ran("list", capsys).splitlines()
    assert lines[0].split() == [
        *("KEY", "NAMESPACE", "DEVICE", "TORCH", "AGE", "USED", "ARTIFACTS", "STORED", "SHARED")
    ]
    assert lines[1].split()[:3] == ["*", own_key(site), "-"]
    assert lines[2].split()[:3] == ["+", own_key(site), "flux"]
    assert lines[-1].startswith(f"2 stored in {host.store}, ")


def test_list_as_json_has_all_its_names(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    found = checked(ran("list --json", capsys), LIST_TYPES)
    assert (found["store"], found["exists"], found["problems"]) == (str(site.store), True, [])
    assert found["environment_key"] == own_key(site)
    own, other = (checked(json.dumps(row), ROW_TYPES) for row in found["stored"])
    assert (own["address"], other["address"]) == (own_key(site), f"{own_key(site)}.flux")
    assert (own["is_current"], other["is_current"], other["is_this_environment"]) == (1, 0, 1)
    assert own["artifacts"] == len(TREE)
    assert own["raw_bytes"] == sum(map(len, TREE.values()))
    assert own["environment"]["torch"] == CPU_MACHINE.torch
    assert (site.store / own["filename"]).is_file()
    packs = sum(path.stat().st_size for path in site.files("packs"))
    assert found["pack_bytes"] == packs == own["exclusive_bytes"] + other["exclusive_bytes"]
    assert abs(own["saved_at"] - time.time()) < 600
    assert host.load().loaded == 0


def test_the_namespace_that_is_given_is_the_current_one(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(ran("list --json --namespace flux", capsys))
    assert [row["is_current"] for row in found["stored"]] == [False, True]
    assert host.tree()


def test_list_of_keys_is_what_show_and_remove_take(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ran("list --keys", capsys).split()
    assert keys == json.loads(ran("list --keys --json", capsys))
    assert keys == [own_key(site), f"{own_key(site)}.flux"]
    for key in keys:
        ran(f"show {key}", capsys)
    assert host.tree()


def test_a_store_that_is_not_there_is_told_and_not_made(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(site.host("host"), monkeypatch)
    assert f"there is no folder {site.store} yet" in ran("list", capsys, NOT_STORED)
    found = checked(ran("list --json", capsys, NOT_STORED), LIST_TYPES)
    assert (found["exists"], found["stored"], found["pack_bytes"]) == (False, [], 0)
    site.store.mkdir()
    assert ran("list", capsys) == f"nothing is stored in {site.store}\n"
    assert list(site.store.iterdir()) == []


def test_damaged_foreign_and_misnamed_manifests_are_named_and_the_rest_is_listed(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    own, _ = sorted(site.files("manifests"), key=lambda path: ".flux" in path.name)
    data, stem = own.read_bytes(), own.name.partition("~")
    bad = {
        "cut short": (own.with_name(f"{KEY}0~{stem[2]}"), data[:50]),
        "another's": (own.with_name(f"{KEY}1~{stem[2]}"), data),
        "no name": (own.with_name("notes.txt"), b"notes"),
    }
    for path, content in bad.values():
        path.write_bytes(content)
    assert main(["list"]) == DONE
    out, err = capsys.readouterr()
    assert "2 stored in " in out
    assert len(err.splitlines()) == 3
    for path, _ in bad.values():
        assert f"b10-transfer: manifests/{path.name}: " in err
    found = json.loads(ran("list --json", capsys))
    assert {item["name"] for item in found["problems"]} == {
        f"manifests/{path.name}" for path, _ in bad.values()
    }
    assert host.tree()


def test_with_a_signing_key_what_is_not_signed_is_named_and_not_listed(
    site: Site, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(host, monkeypatch, B10_CACHE_SIGNING_KEY=FLEET_KEY)
    assert main(["list"]) == DONE
    out, err = capsys.readouterr()
    assert out == f"nothing usable is stored in {site.store}\n"
    assert err.count("not signed") == 2
    site.host("signer", TREE).save(B10_CACHE_SIGNING_KEY=FLEET_KEY)
    found = json.loads(ran("list --json", capsys))
    assert [row["is_signed"] for row in found["stored"]] == [True]
    assert main(["show"]) == DONE
    out, err = capsys.readouterr()
    assert "signed           yes" in out
    assert "not signed" in err


def test_a_read_only_store_is_listed(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(host.store)
    with read_only(host.store):
        for command in ("list", "show", "info"):
            assert main([command]) == DONE
    capsys.readouterr()
    assert snapshot(host.store) == before


def test_where_the_cache_is_off_a_store_can_be_looked_at_all_the_same(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(host, monkeypatch, BASETEN_FS_ENABLED="0")
    assert main(["list"]) == DONE
    out, err = capsys.readouterr()
    assert "2 stored in" in out
    assert err == "b10-transfer: the cache is off here: set BASETEN_FS_ENABLED=1 to use it\n"
    assert json.loads(ran("list --json", capsys))["enabled"] is False
    assert "off: set BASETEN_FS_ENABLED=1" in ran("info", capsys)


def test_a_manifest_whose_body_is_damaged_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(site.host("host", TREE), monkeypatch).save()
    (path,) = site.files("manifests")
    path.write_bytes(path.read_bytes()[:-100])
    assert main(["list"]) == DONE
    assert path.name in capsys.readouterr().err


COMMANDS = ["list", "list --keys", "show", "show 01", "list --json"]


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_store_that_cannot_be_read_is_told_in_a_line(
    site: Site,
    arguments: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    become(site.host("host"), monkeypatch)
    site.store.write_bytes(b"a file")
    assert str(site.store) in failed(arguments, capsys, FAILED)
    site.store.unlink()
    site.store.mkdir()
    (site.store / "FORMAT").write_bytes(b"somebody else's file, of quite another form")
    assert "use the release that wrote it" in failed(arguments, capsys, FAILED)


def test_two_hundred_environments_are_listed_by_a_handful_of_reads_each(
    site: Site,
    host: Host,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = int(time.time() * 1000)
    others = [
        manifest(
            now - 1000 * number,
            [entry(f"{number}/{index}/x.py", pack=number) for index in range(3)],
            address=Address(f"{number:032x}", f"model-{number}" * 5),
        )
        for number in range(1, 201)
    ]
    publish(FolderRemote(str(site.store)), str(site.folder), *others)
    found = json.loads(ran("list --json", capsys))
    assert len(found["stored"]) == 202
    assert found["problems"] == []
    saved = [row["saved_at"] for row in found["stored"]]
    assert saved == sorted(saved, reverse=True)
    monkeypatch.setattr(inspection, "_SHARING_SECONDS", 0.0)
    found = json.loads(ran("list --json", capsys))
    assert len(found["stored"]) == 202
    assert host.tree()


def on_terminal(host: Host, columns: int, *arguments: str, **changes: str) -> str:
    """What a command prints on a terminal of that width, in a process of its own."""
    mine, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "b10_transfer", *arguments],
        env=host.variables(**{"TERM": "xterm", "COLUMNS": None, "NO_COLOR": None, **changes}),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        # The end of a terminal of which the other side is closed is an error on Linux.
        with contextlib.suppress(OSError):
            while data := os.read(mine, 1 << 16):
                shown += data
        assert process.wait(300) == DONE
    os.close(mine)
    return shown.decode()


@pytest.mark.parametrize("columns", [30, 60, 80, 200])
def test_on_a_terminal_each_row_is_one_line_and_this_machines_is_green(
    site: Site, columns: int
) -> None:
    other = site.host("other", TREE)
    for namespace in ("a-very-long-namespace-" * 2, "flux"):
        other.save(B10_CACHE_NAMESPACE=namespace)
    host = site.host("host", TREE)
    done = run_python("import b10_transfer; b10_transfer.save()", host.variables())
    assert done.returncode == 0, done.stderr
    lines = on_terminal(host, columns, "list").splitlines()
    titles, own, *others, _, _ = (re.sub(r"\x1b\[[0-9]+m", "", line) for line in lines[:6])
    assert titles.split()[0] == "KEY"
    assert own.startswith("*")
    assert len(others) == 2
    assert max(map(len, (titles, own, *others))) <= columns
    assert ("a-very-long-namespace-" * 2 in "".join(others)) == (columns == 200)
    assert lines[0].startswith("\x1b[1m")
    assert lines[1].startswith("\x1b[32m*")
    assert "\x1b" not in on_terminal(host, columns, "list", B10_CACHE_NAMESPACE="flux", TERM="dumb")
