"""Saves of the engine, from files to manifests that other hosts load."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from b10_store.errors import SizeLimitError
from b10_store.format.names import Address, format_line
from b10_store.remote.folder import FolderRemote
from b10_store.save import dedup
from b10_store.save import save as save_module
from b10_store.testing.places import FolderPlace
from b10_store.tree.scan import CHANGED
from tests.support.blobs import prose
from tests.support.cache_trees import noise
from tests.support.counting_remote import CountingRemote
from tests.support.engine_hosts import ENVIRONMENT, EngineHost, Hosts
from tests.support.meanwhile import Meanwhile
from tests.support.packed import whole_file
from tests.support.values import ADDRESS, OTHER_ADDRESS

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.remote.memory import MemoryRemote
    from tests.support.clocks import SleepingClock
    from tests.support.wrapped_remote import Call

TREE = {f"a{number}/{number}.py": prose(2000, number) for number in range(12)}


def test_what_one_host_saves_another_loads(hosts: Hosts, remote: MemoryRemote) -> None:
    outcome = hosts.new().write(TREE).save()
    assert outcome.published is not None
    assert (outcome.added, outcome.superseded, outcome.left_out) == (12, 0, ())
    assert outcome.uploaded_bytes == sum(
        remote.stat(f"packs/{name}").size for name in remote.list("packs")
    )
    other = hosts.new()
    assert len(other.load().placed.placed) == 12
    assert other.tree() == TREE


def test_a_store_has_nothing_but_what_the_layout_says(hosts: Hosts, remote: MemoryRemote) -> None:
    outcome = hosts.new().write(TREE).save()
    assert sorted(remote.list("")) == ["FORMAT", "manifests/", "packs/"]
    assert whole_file(remote, "FORMAT") == format_line()
    assert remote.list("manifests") == [f"{outcome.published}.manifest"]
    assert len(remote.list("packs")) == 1


def test_a_manifest_says_where_it_comes_from(hosts: Hosts) -> None:
    host = hosts.new().write(TREE)
    host.save()
    (head,) = host.heads().manifests
    assert (head.address, head.lineage.environment) == (ADDRESS, ENVIRONMENT)
    assert (head.lineage.parents, head.lineage.ancestors) == ((), ())


def test_a_save_with_nothing_new_changes_nothing(hosts: Hosts, remote: MemoryRemote) -> None:
    hosts.new().write(TREE).save()
    counting = CountingRemote(remote)
    for tree in (TREE, dict(list(TREE.items())[:3])):
        outcome = hosts.new(counting).write(tree).save()
        assert outcome.published is None
    assert counting.changes == []


def test_a_save_with_nothing_new_succeeds_on_a_read_only_store(
    hosts: Hosts, remote: MemoryRemote
) -> None:
    hosts.new().write(TREE).save()

    class ReadOnly(CountingRemote):
        def before(self, call: Call) -> None:
            super().before(call)
            assert not self.changes, call

    assert hosts.new(ReadOnly(remote)).write(TREE).save().published is None


def test_only_what_is_new_is_uploaded(hosts: Hosts, remote: MemoryRemote) -> None:
    host = hosts.new().write(TREE)
    first = host.save()
    host.write({"new.py": b"one more"})
    second = host.save()
    assert second.added == 1
    assert second.uploaded_bytes < 300
    assert len(remote.list("packs")) == 2
    (head,) = host.heads().manifests
    assert len(head.entries) == 13
    assert first.published is not None
    assert head.lineage.parents == (first.published.snapshot,)


def test_a_manifest_carries_on_what_this_host_never_had(hosts: Hosts) -> None:
    hosts.new().write({"a": b"of another"}).save()
    host = hosts.new().write({"b": b"mine"})
    host.save()
    assert {path for _, path, _ in host.stored().entries} == {"a", "b"}
    assert len(host.heads().manifests) == 1


def test_of_two_saves_that_did_not_see_each_other_nothing_is_lost(
    hosts: Hosts, remote: MemoryRemote
) -> None:
    one, two = hosts.new().write({"a": b"1", "b": b"1"}), hosts.new()

    two.remote = Meanwhile(remote, one.save, "rename")
    two.write({"b": b"2", "c": b"2"}).save()
    assert len(two.heads().manifests) == 2
    three = hosts.new()
    three.load()
    assert three.tree().keys() == {"a", "b", "c"}
    three.write({"d": b"3"}).save()
    assert len(three.heads().manifests) == 1
    assert three.stored().entries.keys() == {*one.stored().entries.keys()}


def test_ancestors_that_are_still_listed_are_superseded_too(hosts: Hosts) -> None:
    host = hosts.new()
    for number in range(4):
        host.write({f"{number}": b"x"}).save()
    heads = host.heads()
    assert len(heads.listed) == 4
    assert len(heads.manifests) == len(heads.read) == 1
    lineage = heads.manifests[0].lineage
    assert (len(lineage.parents), len(lineage.ancestors)) == (1, 2)


def test_a_damaged_pack_is_healed_by_a_host_that_has_the_bytes(
    hosts: Hosts, remote: MemoryRemote
) -> None:
    host = hosts.new().write(TREE)
    host.save()
    (name,) = remote.list("packs")
    remote.create("packs", name, [whole_file(remote, f"packs/{name}")[:-200]])
    outcome = host.save()
    assert (outcome.added, outcome.superseded) == (0, 12)
    other = hosts.new()
    other.load()
    assert other.tree() == TREE
    assert host.save().published is None


def test_a_pack_that_is_gone_is_uploaded_again(hosts: Hosts, remote: MemoryRemote) -> None:
    host = hosts.new().write(TREE)
    host.save()
    for name in remote.list("packs"):
        remote.delete(f"packs/{name}")
    assert host.save().superseded == 12
    other = hosts.new()
    other.load()
    assert other.tree() == TREE


def test_a_host_without_the_bytes_removes_no_entry_of_a_pack_that_is_gone(
    hosts: Hosts, remote: MemoryRemote
) -> None:
    hosts.new().write(TREE).save()
    for name in remote.list("packs"):
        remote.delete(f"packs/{name}")
    host = hosts.new().write({"other": b"x"})
    host.save()
    assert len(host.stored().entries) == 13


def test_another_namespace_costs_only_its_manifest(
    hosts: Hosts, remote: MemoryRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup, "_SECONDS", 60.0)
    tree = {f"{number}.so": noise(300_000, number) for number in range(10)}
    hosts.new().write(tree).save()
    host = hosts.new(address=Address(ADDRESS.environment_key, "another")).write(tree)
    outcome = host.save()
    assert (outcome.added, outcome.uploaded_bytes) == (10, 0)
    assert len(remote.list("packs")) == 1
    other = hosts.new(address=host.address)
    other.load()
    assert other.tree() == tree


def test_many_small_packs_become_one(hosts: Hosts, remote: MemoryRemote) -> None:
    host = hosts.new()
    for number in range(11):
        host.write({f"{number}": noise(100, number)}).save()
    (head,) = host.heads().manifests
    assert len(head.packs) < 5
    other = hosts.new()
    other.load()
    assert other.tree() == host.tree()
    assert len(remote.list("packs")) == 11


def test_a_tree_over_the_limit_is_refused(hosts: Hosts, remote: MemoryRemote) -> None:
    host = hosts.new().write({"a": noise(5000)})
    with pytest.raises(SizeLimitError):
        host.save(size_limit=4000)
    assert remote.list("manifests") == []
    assert remote.list("packs") == []


def test_a_union_over_the_limit_expires_its_oldest(hosts: Hosts, clock: SleepingClock) -> None:
    for number in range(4):
        hosts.new().write({f"{number}/x": noise(5000, number)}).save(size_limit=16_000)
        clock.seconds += 1
    host = hosts.new()
    host.load()
    assert host.tree().keys() == {"1/x", "2/x", "3/x"}


def test_a_file_that_changes_after_it_was_hashed_is_left_for_the_next_save(hosts: Hosts) -> None:
    host = hosts.new().write(TREE)
    request = host.request()
    host.write({"a0/0.py": b"changed"})
    outcome = host.store().save(request)
    assert (outcome.added, [item.reason for item in outcome.left_out]) == (11, [CHANGED])
    assert "a0/0.py" not in {path for _, path, _ in host.stored().entries}
    assert host.save().added == 1


def test_where_every_file_changed_nothing_is_published(hosts: Hosts, remote: MemoryRemote) -> None:
    host = hosts.new().write({"a": b"x"})
    request = host.request()
    (host.root / "a").unlink()
    outcome = host.store().save(request)
    assert (outcome.published, [item.reason for item in outcome.left_out]) == (None, [CHANGED])
    assert remote.list("manifests") == []
    assert remote.list("sessions") == []


def test_a_damaged_pack_of_another_address_is_not_referred_to(
    hosts: Hosts, remote: MemoryRemote
) -> None:
    tree = {"large": noise(3 << 20)}
    hosts.new(address=OTHER_ADDRESS).write(tree).save()
    (pack,) = remote.list("packs")
    data = bytearray(whole_file(remote, f"packs/{pack}"))
    data[1000] ^= 1
    remote.create("packs", pack, [bytes(data)])
    host = hosts.new().write(tree)
    assert host.save().uploaded_bytes > 3 << 20
    other = hosts.new()
    other.load()
    assert other.tree() == tree


@pytest.mark.parametrize("behind", [5, 3600, 20 * 86400])
def test_a_host_whose_clock_is_behind_replaces_what_its_compiler_replaced(
    hosts: Hosts, clock: SleepingClock, monkeypatch: pytest.MonkeyPatch, behind: int
) -> None:
    late = SimpleNamespace(time_ns=lambda: round((clock.seconds - behind) * 1e9))
    monkeypatch.setattr(save_module, "time", late)
    host = hosts.new().write({"a": b"one"})
    host.save()
    host.write({"a": b"two"})
    assert host.save().superseded == 1


def test_the_engine_saves_to_a_real_folder_as_well(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "store")
    host = EngineHost(FolderRemote(str(place.folder)), tmp_path / "one").write(TREE)
    host.save()
    host.write({"more": b"x"}).save()
    other = EngineHost(FolderRemote(str(place.folder)), tmp_path / "two")
    other.load()
    assert other.tree() == {**TREE, "more": b"x"}
    assert not any(".tmp-" in name for name in place.names())
