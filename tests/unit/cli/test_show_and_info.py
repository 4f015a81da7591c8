"""Looking at one stored environment, and at this machine: show and info."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import Address
from b10_store.remote.folder import FolderRemote
from tests.support.cache_trees import compiled_graph
from tests.support.cli_runs import FAILED, NOT_STORED, ROW_TYPES, USAGE, checked, failed, ran
from tests.support.machines import CPU_MACHINE
from tests.support.published import publish
from tests.support.sites import Site, become
from tests.support.values import entry, manifest

if TYPE_CHECKING:
    from tests.support.sites import Host

TREE, OTHER_TREE = compiled_graph("model"), compiled_graph("other", 1)

KEY = "0123456789abcdef0123456789abcde"

SHOW_TYPES: dict[str, tuple[type, ...]] = {
    **ROW_TYPES,
    "store": (str,),
    "recorded": (dict,),
    "totals": (dict,),
    "kinds": (list,),
    "manifests": (list,),
    "superseded": (int,),
    "problems": (list,),
}

INFO_TYPES: dict[str, tuple[type, ...]] = {
    "environment_key": (str,),
    "namespace": (str,),
    "environment": (list,),
    "recorded": (list,),
    "requirement": (str,),
    "settings": (list,),
    "python": (str,),
    "store_filesystem": (str, type(None)),
    "enabled": (bool,),
    "store": (str,),
    "store_exists": (bool,),
    "store_writable": (bool,),
    "stored": (dict, type(None)),
    "roots": (list,),
    "problems": (list,),
    "error": (str, type(None)),
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


# show


def test_show_tells_what_this_machine_would_load(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ran("show", capsys)
    assert f"environment key  {own_key(site)} (this machine's)\n" in out
    assert f"  torch       {CPU_MACHINE.torch}\n" in out
    assert "  threads " in out
    assert site.files("manifests")[0].name in out or site.files("manifests")[1].name in out
    assert host.tree()


def test_show_as_json_has_all_its_names_and_its_parts_add_up(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.write(OTHER_TREE)
    host.save()
    found = checked(ran("show --json", capsys), SHOW_TYPES)
    assert found["artifacts"] == found["totals"]["artifacts"] == len(TREE | OTHER_TREE)
    assert sum(kind["artifacts"] for kind in found["kinds"]) == found["artifacts"]
    assert sum(kind["raw_bytes"] for kind in found["kinds"]) == found["raw_bytes"]
    (newest,) = found["manifests"]
    assert newest["filename"] == found["filename"]
    (parent,) = newest["parents"]
    assert any(parent in path.name for path in site.files("manifests"))
    assert found["superseded"] == 1
    assert found["recorded"]["threads"] == CPU_MACHINE.threads
    assert f"parent {parent}" in ran("show", capsys)


def test_show_takes_the_first_digits_of_a_key_and_a_namespace(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        f"show {own_key(site)[:6]}.flux",
        f"show {own_key(site)} --namespace flux",
        "show --namespace flux",
    ):
        found = json.loads(ran(f"{arguments} --json", capsys))
        assert found["namespace"] == "flux"
        assert found["artifacts"] == len(OTHER_TREE)
    assert host.tree()


def test_show_of_what_is_not_there_ends_with_3(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no 'xyz' stored" in failed("show xyz", capsys, NOT_STORED)
    assert "nothing is stored for this environment" in failed(
        "show --namespace none-such", capsys, NOT_STORED
    )
    key = own_key(site)
    for path in site.files("manifests"):
        path.rename(path.with_name(path.name.replace(key, f"{KEY}0")))
    assert "nothing is stored for this environment" in failed("show", capsys, NOT_STORED)
    assert host.tree()


def test_show_of_what_is_damaged_says_so(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in site.files("manifests"):
        path.write_bytes(b"damaged")
    assert "can be used: manifests/" in failed("show", capsys, FAILED)
    assert host.tree()


# info


def test_info_tells_the_key_its_fields_the_store_and_the_roots(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ran("info", capsys)
    for text in (own_key(site), CPU_MACHINE.torch, str(site.store), str(host.root)):
        assert text in out
    found = checked(ran("info --json", capsys), INFO_TYPES)
    assert found["environment_key"] == own_key(site)
    assert found["stored"]["artifacts"] == len(TREE)
    assert (found["store_exists"], found["store_writable"]) == (True, True)
    roots = {item["name"]: item for item in found["roots"]}
    assert roots["inductor"] == {
        "name": "inductor",
        "folder": str(host.root),
        "exists": True,
        "files": len(TREE),
        "bytes": sum(map(len, TREE.values())),
        "chosen_by": "TORCHINDUCTOR_CACHE_DIR",
        "loaded": 0,
        "loaded_at": None,
    }
    fields = {item["name"]: item["value"] for item in found["environment"]}
    assert fields["torch"] == CPU_MACHINE.torch


def test_info_of_a_machine_that_has_nothing_yet(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = become(site.host("host"), monkeypatch)
    out = ran("info", capsys)
    assert "no such folder yet" in out
    assert "nothing for this environment" in out
    assert f"does not exist yet: {host.root}" in out
    assert checked(ran("info --json", capsys), INFO_TYPES)["stored"] is None


def test_info_says_what_is_wrong_with_the_store_and_ends_with_4(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(site.host("host"), monkeypatch)
    site.store.write_bytes(b"a file")
    assert "is not a folder: set" in ran("info", capsys, FAILED)
    found = checked(ran("info --json", capsys, FAILED), INFO_TYPES)
    assert "is not a folder: set" in found["error"]


def test_of_many_keys_those_are_named_that_look_like_what_was_typed(
    site: Site, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [
        manifest(number, [entry("x.py")], address=Address(f"{number:032x}", "flux"))
        for number in range(1, 31)
    ]
    publish(FolderRemote(str(site.store)), str(site.folder), *others)
    line = failed(f"show {7:032x}.fluxx", capsys, NOT_STORED)
    assert f"{7:032x}.flux, " in line
    assert "more, which `b10-transfer list` shows" in line
    assert "32 others, which" in failed("show zzz", capsys, NOT_STORED)
    assert "others, which" in failed("show --namespace flux 0", capsys, USAGE)
    assert host.tree()
