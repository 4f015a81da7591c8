"""The FORMAT file: damaged, it says nothing; intact and of another version, nothing is touched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_store.format.names import FORMAT_VERSION, format_line
from b10_transfer import OperationStatus
from b10_transfer.cli import main
from tests.support.cache_trees import snapshot
from tests.support.damage import Damage, cuts, whole_file_damage
from tests.support.sites import Host, become
from tests.support.store_views import load_elsewhere, store_files
from tests.support.trees import artifacts_of, compiled, differences, put_artifacts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SIZES = {"FORMAT": len(format_line())}
_DAMAGE = [
    *(case for case in whole_file_damage(_SIZES) if case.kind in ("zeros", "empty", "gone")),
    *cuts({"FORMAT": 1}),
    *(Damage("cut", "FORMAT", length) for length in (1, _SIZES["FORMAT"] // 2)),
    *(Damage("flip", "FORMAT", place) for place in range(0, _SIZES["FORMAT"] - 1, 8)),
]


@pytest.fixture
def saver(tmp_path: Path) -> Host:
    """A host that saved one model."""
    host = Host(tmp_path / "store", tmp_path / "saver")
    put_artifacts(host, compiled("first"))
    assert host.save().status is OperationStatus.SUCCESS
    return host


def test_a_damaged_format_file_hinders_no_load_and_the_next_new_manifest_comes_with_a_good_one(
    saver: Host,
) -> None:
    tree = compiled("first")
    for number, case in enumerate(_DAMAGE):
        case.apply(saver.store)
        assert differences(load_elsewhere(saver.store), tree) == [], case
        assert saver.save().status is OperationStatus.SKIPPED, case
        new = dict(list(compiled(f"{number} more").items())[:1])
        put_artifacts(saver, new)
        tree |= new
        assert saver.save().status is OperationStatus.SUCCESS, case
        assert store_files(saver.store)["FORMAT"] == format_line(), case
        assert differences(load_elsewhere(saver.store), tree) == [], case


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, 999_999_999])
def test_a_store_of_another_version_is_named_as_such_and_not_touched(
    saver: Host, version: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (saver.store / "FORMAT").write_bytes(format_line(version))
    put_artifacts(saver, compiled("second"))
    loader = become(Host(saver.store, saver.folder.with_name("loader")), monkeypatch)
    before = snapshot(saver.store)
    assert b10_transfer.load_compile_cache() is OperationStatus.ERROR
    assert artifacts_of(loader) == {}
    become(saver, monkeypatch)
    assert b10_transfer.save_compile_cache() is OperationStatus.ERROR
    for answer in (b10_transfer.get_cache_info(), b10_transfer.list_available_caches()):
        assert f"format {version}" in answer["error"]
    assert snapshot(saver.store) == before
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all(f"the store has format {version}" in line for line in lines)
    way_out = f"remove FORMAT, which belongs to uid {os.getuid()}, and the next save writes it"
    assert all(way_out in line for line in lines)
    assert differences(artifacts_of(saver), {**compiled("first"), **compiled("second")}) == []


def garbage(file: Path) -> None:
    file.write_text("nothing for you")


def link(file: Path) -> None:
    file.symlink_to("/etc/passwd")


@pytest.mark.parametrize("plant", [garbage, link, os.mkfifo, os.mkdir])
def test_what_somebody_put_in_its_place_is_named_with_the_owner_and_the_way_out(
    saver: Host,
    plant: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    become(saver, monkeypatch)
    file = saver.store / "FORMAT"
    file.unlink()
    plant(file)
    put_artifacts(saver, compiled("second"))
    for command in ("load", "save", "check", "doctor"):
        main([command])
        said = "".join(capsys.readouterr())
        assert f"remove FORMAT, which belongs to uid {os.getuid()}" in said, command
