"""Artifacts that a compiler rewrites with what it learns, united with the stored ones at a save.

Here such a file holds words, and to unite two is to take the words of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.digest import digest_of
from b10_store.packs.health import look_at_packs
from b10_store.remote.folder import FolderRemote
from b10_store.save.mergeable import unite_rewritten
from tests.support.counting_remote import CountingRemote
from tests.support.engine_hosts import Hosts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from b10_store.save.request import SaveOutcome
    from b10_store.tree.scan import Scanned
    from tests.support.engine_hosts import EngineHost

WORDS = "words/a"
OTHER = {"ab/other.py": b"other = 1\n" * 50}


def united_words(first: bytes, second: bytes) -> bytes:
    if b"?" in first + second:
        raise ValueError("no words")
    return b" ".join(sorted({*first.split(), *second.split()}))


def second_of(first: bytes, second: bytes) -> bytes:
    return second if first else first


def rewritten(artifacts: list[Scanned]) -> list[Scanned]:
    """The artifacts, of which those that hold words can be united."""
    return [
        item._replace(file=item.file._replace(unite=united_words))
        if item.identity.path.startswith("words/")
        else item
        for item in artifacts
    ]


def save(host: EngineHost) -> SaveOutcome:
    return host.save(artifacts=rewritten(host.artifacts()))


class Case:
    """A store that holds something, and a host that has something."""

    def __init__(self, folder: Path) -> None:
        """Nothing is stored yet."""
        self.store = folder / "store"
        self.remote = CountingRemote(FolderRemote(str(self.store)))
        self.hosts = Hosts(folder, self.remote)

    def stored(self, tree: Mapping[str, bytes]) -> None:
        """Save a tree from a host of its own."""
        assert save(self.hosts.new().write(tree)).published is not None

    def unite(self, host: EngineHost) -> dict[str, Scanned]:
        """What a save of a host would plan with, by path."""
        stored = host.stored()
        packs = look_at_packs(
            self.remote, {pack: known.size for pack, known in stored.packs.items()}
        )
        self.remote.calls.clear()
        artifacts = rewritten(host.artifacts())
        united = unite_rewritten(self.remote, stored, artifacts, packs.good)
        assert [item.identity for item in united] == [item.identity for item in artifacts]
        return {item.identity.path: item for item in united}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def content_of(item: Scanned) -> bytes:
    return b"".join(item.read())


def assert_as_here(item: Scanned, data: bytes) -> None:
    assert not item.is_united
    assert item.digest == digest_of(data)
    assert content_of(item) == data


def test_what_the_store_knows_is_added_to_what_is_here(case: Case) -> None:
    case.stored({WORDS: b"both stored"})
    host = case.hosts.new().write({WORDS: b"both here"})
    item = case.unite(host)[WORDS]
    assert content_of(item) == b"both here stored"
    assert (item.digest, item.size) == (digest_of(b"both here stored"), 16)
    assert item.is_united
    assert host.tree()[WORDS] == b"both here", "the file itself stays"


def test_where_what_is_here_has_nothing_new_the_stored_bytes_come_out(case: Case) -> None:
    case.stored({WORDS: b"a b c"})
    host = case.hosts.new().write({WORDS: b"b"})
    assert case.unite(host)[WORDS].digest == digest_of(b"a b c")
    assert save(host).published is None


def test_in_what_both_say_the_stored_bytes_come_second_and_are_preferred(case: Case) -> None:
    case.stored({WORDS: b"stored"})
    host = case.hosts.new().write({WORDS: b"here"})
    artifacts = [
        item._replace(file=item.file._replace(unite=second_of)) for item in host.artifacts()
    ]
    stored = host.stored()
    (item,) = unite_rewritten(case.remote, stored, artifacts, stored.packs.keys())
    assert content_of(item) == b"stored"


def test_other_artifacts_stay_the_very_same(case: Case) -> None:
    case.stored({WORDS: b"stored", **OTHER})
    host = case.hosts.new().write({WORDS: b"here", "ab/other.py": b"here too"})
    assert_as_here(case.unite(host)["ab/other.py"], b"here too")


@pytest.mark.parametrize(
    ("stored", "here"),
    [
        pytest.param({WORDS: b"same", **OTHER}, {WORDS: b"same"}, id="the same is stored"),
        pytest.param(OTHER, {WORDS: b"here"}, id="nothing is stored"),
        pytest.param({WORDS: b"a", **OTHER}, {"ab/other.py": b"b"}, id="none is here"),
    ],
)
def test_where_none_differs_nothing_is_read(
    case: Case, stored: dict[str, bytes], here: dict[str, bytes]
) -> None:
    case.stored(stored)
    host = case.hosts.new().write(here)
    united = case.unite(host)
    assert case.remote.calls == []
    for path, data in here.items():
        assert_as_here(united[path], data)


def test_only_the_packs_are_read_that_hold_what_differs(case: Case) -> None:
    case.stored({WORDS: b"stored", "words/b": b"b"})
    case.stored(OTHER)
    case.stored({"words/c": b"stored later"})
    host = case.hosts.new().write({WORDS: b"here", "words/b": b"b", "words/c": b"here"})
    united = case.unite(host)
    assert len(case.remote.calls) == len(case.remote.names("read")) == 2
    assert content_of(united[WORDS]) == b"here stored"
    assert content_of(united["words/c"]) == b"here later stored"


def test_what_lies_in_a_pack_that_is_gone_is_not_read_and_what_is_here_stays(case: Case) -> None:
    case.stored({WORDS: b"stored"})
    for pack in (case.store / "packs").iterdir():
        pack.unlink()
    host = case.hosts.new().write({WORDS: b"here"})
    assert_as_here(case.unite(host)[WORDS], b"here")
    assert case.remote.calls == []


def test_where_the_stored_bytes_are_damaged_what_is_here_stays_and_heals(case: Case) -> None:
    case.stored({WORDS: b"stored"})
    (pack,) = (case.store / "packs").iterdir()
    data = bytearray(pack.read_bytes())
    data[5] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(data)
    host = case.hosts.new().write({WORDS: b"here"})
    assert_as_here(case.unite(host)[WORDS], b"here")


@pytest.mark.parametrize(("stored", "here"), [(b"?", b"here"), (b"stored", b"?")])
def test_what_cannot_be_united_stays_as_it_is_here(case: Case, stored: bytes, here: bytes) -> None:
    case.stored({WORDS: stored})
    host = case.hosts.new().write({WORDS: here})
    assert_as_here(case.unite(host)[WORDS], here)


def test_a_file_that_vanishes_before_it_is_read_again_fails_no_other(case: Case) -> None:
    case.stored({WORDS: b"stored", "words/b": b"stored"})
    host = case.hosts.new().write({WORDS: b"here", "words/b": b"here"})
    artifacts = rewritten(host.artifacts())
    (host.root / WORDS).unlink()
    stored = host.stored()
    united = unite_rewritten(case.remote, stored, artifacts, stored.packs.keys())
    first, second = united
    assert not first.is_united
    assert content_of(second) == b"here stored"


@pytest.mark.parametrize(("stored", "here"), [(b"a " * 51, b"b"), (b"a", b"b " * 51)])
def test_bytes_too_large_to_be_held_at_once_are_not_united(
    case: Case, monkeypatch: pytest.MonkeyPatch, stored: bytes, here: bytes
) -> None:
    monkeypatch.setattr("b10_store.save.mergeable.UNITED_LIMIT", 100)
    case.stored({WORDS: stored})
    host = case.hosts.new().write({WORDS: here})
    assert_as_here(case.unite(host)[WORDS], here)
    assert case.remote.calls == []


def test_a_host_that_never_loaded_adds_its_own_and_loses_nothing_that_is_stored(
    case: Case,
) -> None:
    case.stored({WORDS: b"stored", **OTHER})
    outcome = save(case.hosts.new().write({WORDS: b"here"}))
    assert (outcome.added, outcome.superseded) == (0, 1)
    loader = case.hosts.new()
    loader.load()
    assert loader.tree() == {WORDS: b"here stored", **OTHER}


def test_hosts_that_each_know_something_else_lose_nothing_in_any_order(case: Case) -> None:
    words = [f"word{number}".encode() for number in range(10)]
    hosts = [case.hosts.new().write({WORDS: word}) for word in words]
    for host in [*hosts[::2], *hosts[1::2]]:
        assert save(host).published is not None
    for host in hosts:
        assert save(host).published is None, "everything it knows is stored"
    loader = case.hosts.new()
    loader.load()
    assert loader.tree() == {WORDS: b" ".join(words)}


def test_what_grows_beyond_one_frame_when_it_is_united_is_saved_and_loaded_whole(
    case: Case,
) -> None:
    ours = [f"ours{number:07}".encode() for number in range(60_000)]
    theirs = [f"theirs{number:07}".encode() for number in range(60_000)]
    case.stored({WORDS: b" ".join(theirs)})
    assert save(case.hosts.new().write({WORDS: b" ".join(ours)})).superseded == 1
    loader = case.hosts.new()
    loader.load()
    assert loader.tree() == {WORDS: b" ".join(ours + theirs)}
