"""How often a load or a save of the product calls on the shared folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.remote.folder import FolderRemote
from b10_transfer.operations import context
from b10_transfer.status import OperationStatus
from tests.support.cache_trees import compiled_graph
from tests.support.counting_remote import CountingRemote
from tests.support.sites import Site

if TYPE_CHECKING:
    from tests.support.sites import Host


@pytest.fixture
def remotes(monkeypatch: pytest.MonkeyPatch) -> list[CountingRemote]:
    """The store as each operation uses it, counted."""
    made: list[CountingRemote] = []

    def counted(root: str) -> CountingRemote:
        made.append(CountingRemote(FolderRemote(root)))
        return made[-1]

    monkeypatch.setattr(context, "FolderRemote", counted)
    return made


def many_artifacts(count: int) -> dict[str, bytes]:
    tree: dict[str, bytes] = {}
    for number in range(count):
        tree.update(compiled_graph(f"graph{number}", number))
    return tree


@pytest.mark.parametrize(("heads", "packs"), [(1, 1), (1, 5), (3, 3)])
def test_a_load_calls_a_handful_of_times_whatever_the_number_of_artifacts(
    site: Site, remotes: list[CountingRemote], heads: int, packs: int
) -> None:
    if heads == 1:
        saver = site.host("saver")
        for number in range(packs):
            saver.write(compiled_graph(f"graph{number}", number))
            saver.save()
    else:
        for number in range(heads):
            publish_apart(site, f"saver{number}", number)
    loader = site.host("loader")
    report = loader.load()
    assert report.status is OperationStatus.SUCCESS
    calls = remotes[-1].calls
    assert len(site.files("packs")) == packs
    assert len([name for name in remotes[-1].names("read") if name.startswith("pack")]) == packs
    assert len(calls) <= 12 + 2 * heads + packs, calls


def publish_apart(site: Site, name: str, number: int) -> None:
    """A save that sees no other manifest, so that its own becomes a head beside the others."""
    folder, aside = site.store / "manifests", site.folder / "aside"
    if folder.exists():
        folder.rename(aside)
    host: Host = site.host(name, compiled_graph(f"graph{number}", number))
    host.save()
    if aside.exists():
        for manifest in aside.iterdir():
            manifest.rename(folder / manifest.name)
        aside.rmdir()


def test_a_load_of_many_artifacts_calls_no_more_often_than_one_of_few(
    site: Site, remotes: list[CountingRemote]
) -> None:
    calls: list[int] = []
    for count in (1, 400):
        store = Site(site.folder / f"{count}")
        store.host("saver", many_artifacts(count)).save()
        report = store.host("loader").load()
        assert report.loaded >= count
        calls.append(len(remotes[-1].calls))
    assert calls[0] == calls[1]


def test_a_load_with_everything_here_reads_no_pack_and_changes_nothing(
    site: Site, remotes: list[CountingRemote]
) -> None:
    site.host("saver", many_artifacts(3)).save()
    loader = site.host("loader")
    loader.load()
    assert loader.load().status is OperationStatus.SKIPPED
    assert len(remotes[-1].calls) <= 5
    assert remotes[-1].changes == []


def test_a_save_with_nothing_new_changes_nothing_and_calls_a_handful_of_times(
    site: Site, remotes: list[CountingRemote]
) -> None:
    saver = site.host("saver", many_artifacts(3))
    assert saver.save().status is OperationStatus.SUCCESS
    for host in (saver, site.host("another", many_artifacts(3))):
        assert host.save().status is OperationStatus.SKIPPED
        assert remotes[-1].changes == []
        assert len(remotes[-1].calls) <= 12


def test_a_load_of_nothing_calls_a_handful_of_times(
    site: Site, remotes: list[CountingRemote]
) -> None:
    assert site.host("loader").load().status is OperationStatus.DOES_NOT_EXIST
    assert len(remotes[-1].calls) <= 4
    assert not site.store.exists()
