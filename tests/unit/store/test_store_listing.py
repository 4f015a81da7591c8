"""What is known of a store without loading from it, and which stores are not read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from b10_store.errors import UnsupportedFormatError
from b10_store.format.keys import SigningKey
from b10_store.format.names import Address, format_line
from b10_store.remote.memory import MemoryRemote
from tests.support.blobs import prose
from tests.support.clocks import TickingClock
from tests.support.counting_remote import CountingRemote
from tests.support.engine_hosts import EngineHost
from tests.support.packed import rewrite, the_pack, whole_file
from tests.support.values import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


TREE = {f"a{number}/{number}.py": prose(2000, number) for number in range(12)}


@pytest.fixture
def remote() -> MemoryRemote:
    return MemoryRemote(TickingClock(time.time()).time)


def test_a_store_of_another_format_is_not_read(saver: EngineHost, remote: MemoryRemote) -> None:
    saver.write(TREE).save()
    remote.create("", "FORMAT", [format_line(2)])
    counting = CountingRemote(remote)
    saver.remote = counting
    with pytest.raises(UnsupportedFormatError):
        saver.heads()
    with pytest.raises(UnsupportedFormatError):
        saver.store().listing()
    assert {call.name for call in counting.calls} == {"FORMAT"}


@pytest.mark.parametrize("line", [None, b"", format_line()[:20]])
def test_without_a_whole_format_file_a_store_still_loads(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote, line: bytes | None
) -> None:
    saver.write(TREE).save()
    remote.delete("FORMAT")
    if line is not None:
        remote.create("", "FORMAT", [line])
    loader.load()
    assert loader.tree() == TREE


def test_with_a_key_only_signed_manifests_load(
    saver: EngineHost, loader: EngineHost, tmp_path: Path
) -> None:
    saver.write(TREE).save()
    loader.key = SigningKey(b"a secret of enough bytes")
    loader.load()
    assert loader.tree() == {}
    signing = EngineHost(saver.remote, tmp_path / "signing", key=loader.key)
    signing.write({"signed": b"x"}).save()
    loader.load()
    assert loader.tree() == {"signed": b"x"}


def test_a_listing_shows_the_newest_manifest_of_each_address_by_its_header(
    saver: EngineHost, remote: MemoryRemote, tmp_path: Path
) -> None:
    saver.write(TREE).save()
    newest = saver.write({"late.py": b"x"}).save().published
    other = Address(ADDRESS.environment_key, "other")
    EngineHost(remote, tmp_path / "other", other).write({"a": b"x"}).save()
    counting = CountingRemote(remote)
    saver.remote = counting
    listing = saver.store().listing()
    assert {header.name.address for header in listing.headers} == {ADDRESS, other}
    assert newest in {header.name for header in listing.headers}
    assert listing.problems == ()
    assert len(counting.names("read")) == 3
    (only,) = saver.store().listing(other).headers
    assert only.name.address == other
    assert only.summary.artifacts == 1


def test_a_listing_goes_back_to_the_newest_readable_manifest(
    saver: EngineHost, remote: MemoryRemote
) -> None:
    older = saver.write(TREE).save().published
    newer = saver.write({"late.py": b"x"}).save().published
    assert older is not None
    assert newer is not None
    rewrite(remote, newer.manifest_path, b"damaged")
    listing = saver.store().listing()
    assert [header.name for header in listing.headers] == [older]
    assert [problem.name for problem in listing.problems] == [newer.manifest_path]
    rewrite(remote, older.manifest_path, b"damaged too")
    assert saver.store().listing().headers == ()


def test_a_save_is_still_good_while_nothing_changed(
    saver: EngineHost, remote: MemoryRemote
) -> None:
    store_state = saver.write(TREE).save().store_state
    counting = CountingRemote(remote)
    saver.remote = counting
    assert saver.store().is_unchanged(ADDRESS, store_state)
    assert counting.changes == []
    assert saver.save().store_state == store_state


@pytest.mark.parametrize(
    "change", ["a new manifest", "no manifest", "a damaged manifest", "no pack", "a short pack"]
)
def test_a_save_is_not_good_any_more_when_something_changed(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote, change: str
) -> None:
    outcome = saver.write(TREE).save()
    assert outcome.published is not None
    name, pack = outcome.published.manifest_path, the_pack(remote)
    changes: dict[str, Callable[[], object]] = {
        "a new manifest": lambda: loader.write({"new": b"x"}).save(),
        "no manifest": lambda: remote.delete(name),
        "a damaged manifest": lambda: rewrite(remote, name, whole_file(remote, name)[:-1]),
        "no pack": lambda: remote.delete(pack),
        "a short pack": lambda: rewrite(remote, pack, whole_file(remote, pack)[:-1]),
    }
    changes[change]()
    assert not saver.store().is_unchanged(ADDRESS, outcome.store_state)
