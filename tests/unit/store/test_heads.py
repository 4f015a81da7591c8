from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.errors import CorruptError, StoreError
from b10_store.format.keys import SigningKey
from b10_store.format.manifest import summarize
from b10_store.format.names import Address
from b10_store.format.reading_budget import ReadingBudget
from b10_store.manifests.problem import Damage
from b10_store.manifests.reader import ManifestReader
from b10_store.remote.patient import PatientRemote
from b10_store.remote.protocol import Range
from tests.support.counting_remote import CountingRemote
from tests.support.meanwhile import Meanwhile, failing
from tests.support.packed import memory_store
from tests.support.published import damage, publish
from tests.support.values import ADDRESS, entry, manifest, snapshot
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.format.manifest import Manifest
    from b10_store.manifests.reader import Heads
    from b10_store.remote.memory import MemoryRemote
    from b10_store.remote.protocol import Remote

KEY = SigningKey(b"a secret of enough bytes")
OTHER = Address(ADDRESS.environment_key, "other")


@pytest.fixture
def remote() -> MemoryRemote:
    return memory_store()


def chain(count: int) -> list[Manifest]:
    """Manifests of which each carries on the one before it."""
    return [
        manifest(
            number,
            [entry(f"{number}")],
            parents=[snapshot(number - 1)] if number > 1 else [],
            ancestors=[snapshot(older) for older in range(1, number - 1)],
        )
        for number in range(1, count + 1)
    ]


def heads_of(remote: Remote, scratch: str, *keys: SigningKey) -> Heads:
    return ManifestReader(remote, scratch, keys).heads(ADDRESS)


def times(manifests: tuple[Manifest, ...]) -> list[int]:
    return sorted(int(item.name.snapshot[:13]) for item in manifests)


def test_an_empty_store_has_no_heads(remote: MemoryRemote, scratch: str) -> None:
    found = heads_of(remote, scratch)
    assert (found.manifests, found.listed, found.read, found.problems) == ((), (), (), ())


def test_of_a_chain_only_the_newest_is_read(remote: MemoryRemote, scratch: str) -> None:
    line = chain(20)
    publish(remote, scratch, *line)
    counting = CountingRemote(remote)
    found = heads_of(counting, scratch)
    assert found.manifests == found.read == (line[-1],)
    assert len(found.listed) == 20
    assert counting.calls == [("list", "manifests"), ("read", line[-1].name.manifest_path)]


def test_unrelated_manifests_are_all_heads(remote: MemoryRemote, scratch: str) -> None:
    publish(remote, scratch, *(manifest(number) for number in (1, 2, 3)))
    counting = CountingRemote(remote)
    assert times(heads_of(counting, scratch).manifests) == [1, 2, 3]
    assert len(counting.names("read")) == 3


def test_what_a_second_head_supersedes_is_no_head(remote: MemoryRemote, scratch: str) -> None:
    publish(remote, scratch, *chain(3), manifest(4))
    found = heads_of(remote, scratch)
    assert times(found.manifests) == [3, 4]


def test_manifests_of_other_addresses_are_not_read(remote: MemoryRemote, scratch: str) -> None:
    publish(remote, scratch, manifest(1), manifest(2, address=OTHER))
    remote.create("manifests", "README", [b"not ours"])
    counting = CountingRemote(remote)
    assert times(heads_of(counting, scratch).manifests) == [1]
    assert len(counting.names("read")) == 1


def test_a_damaged_manifest_supersedes_nothing(remote: MemoryRemote, scratch: str) -> None:
    line = chain(4)
    publish(remote, scratch, *line)
    damage(remote, line[-1])
    found = heads_of(remote, scratch)
    assert found.manifests == (line[2],)
    assert [problem.name for problem in found.problems] == [line[-1].name.manifest_path]
    assert found.problems[0].damage is Damage.DAMAGED


def test_where_all_are_damaged_all_are_problems(remote: MemoryRemote, scratch: str) -> None:
    line = chain(3)
    publish(remote, scratch, *line)
    for item in line:
        damage(remote, item)
    found = heads_of(remote, scratch)
    assert (found.manifests, found.read) == ((), ())
    assert {problem.name for problem in found.problems} == {
        item.name.manifest_path for item in line
    }


def test_manifests_that_supersede_each_other_leave_the_newest(
    remote: MemoryRemote, scratch: str
) -> None:
    publish(remote, scratch, manifest(1, parents=[snapshot(2)]))
    publish(remote, scratch, manifest(2, parents=[snapshot(1)]))
    assert times(heads_of(remote, scratch).manifests) == [2]


def test_a_manifest_cannot_supersede_a_younger_one(remote: MemoryRemote, scratch: str) -> None:
    publish(remote, scratch, manifest(1, parents=[snapshot(2)]), manifest(2))
    assert times(heads_of(remote, scratch).manifests) == [1, 2]


def test_a_manifest_that_vanishes_meanwhile_is_looked_for_again(
    remote: MemoryRemote, scratch: str
) -> None:
    old, new = chain(2)
    publish(remote, scratch, old)

    def supersede() -> None:
        publish(remote, scratch, new)
        remote.rename(old.name.manifest_path, "trash/gc/one")

    counting = CountingRemote(Meanwhile(remote, supersede, "list", afterwards=True))
    found = heads_of(counting, scratch)
    assert found.manifests == (new,)
    assert found.problems == ()
    assert len(counting.names("list")) == 2


class Vanishing(WrappedRemote):
    """A listing that shows what is not there any more."""

    def __init__(self, inner: Remote, name: str) -> None:
        super().__init__(inner)
        self._name = name

    def list(self, folder: str) -> list[str]:
        return [*super().list(folder), self._name]


def test_a_manifest_that_is_never_found_is_a_problem_after_one_more_look(
    remote: MemoryRemote, scratch: str
) -> None:
    publish(remote, scratch, manifest(1))
    counting = CountingRemote(Vanishing(remote, f"{manifest(2).name}.manifest"))
    found = heads_of(counting, scratch)
    assert times(found.manifests) == [1]
    assert [problem.damage for problem in found.problems] == [Damage.MISSING]
    assert counting.names("list") == ["manifests"] * 2


def test_a_read_that_fails_once_is_tried_once_more(remote: MemoryRemote, scratch: str) -> None:
    publish(remote, scratch, manifest(1))
    stale = OSError(116, "stale file handle")
    found = heads_of(PatientRemote(failing(remote, stale, "read", times=1)), scratch)
    assert (times(found.manifests), found.problems) == ([1], ())


def test_a_manifest_that_cannot_be_reached_is_told_from_a_damaged_one(
    remote: MemoryRemote, scratch: str
) -> None:
    publish(remote, scratch, manifest(1))
    stale = OSError(116, "stale file handle")
    (problem,) = heads_of(failing(remote, stale, "read"), scratch).problems
    assert problem.damage is Damage.UNREADABLE
    assert "stale file handle" in problem.reason


def test_with_a_key_unsigned_manifests_are_problems(remote: MemoryRemote, scratch: str) -> None:
    publish(remote, scratch, manifest(2), manifest(3))
    publish(remote, scratch, manifest(1), key=KEY)
    found = heads_of(remote, scratch, KEY)
    assert times(found.manifests) == [1]
    assert all("not signed" in problem.reason for problem in found.problems)
    assert len(found.problems) == 2


def test_an_unsigned_manifest_supersedes_no_signed_one_for_a_host_with_the_key(
    remote: MemoryRemote, scratch: str
) -> None:
    publish(remote, scratch, manifest(1), key=KEY)
    publish(remote, scratch, manifest(2, parents=[snapshot(1)]))
    assert times(heads_of(remote, scratch, KEY).manifests) == [1]
    assert times(heads_of(remote, scratch).manifests) == [2]


def test_a_manifest_is_read_once_an_operation(remote: MemoryRemote, scratch: str) -> None:
    publish(remote, scratch, manifest(1))
    counting = CountingRemote(remote)
    reader = ManifestReader(counting, scratch, ())
    assert reader.heads(ADDRESS) == reader.heads(ADDRESS)
    assert len(counting.names("read")) == 1
    assert len(counting.names("list")) == 2


def test_a_manifest_under_another_name_is_refused(remote: MemoryRemote, scratch: str) -> None:
    publish(remote, scratch, manifest(1))
    remote.rename(manifest(1).name.manifest_path, manifest(2).name.manifest_path)
    found = heads_of(remote, scratch)
    assert found.manifests == ()
    assert "written as" in found.problems[0].reason


def test_a_header_is_read_without_the_body(remote: MemoryRemote, scratch: str) -> None:
    value = manifest(1, [entry(f"{number}") for number in range(5)], parents=[snapshot(0)])
    publish(remote, scratch, value)
    header = ManifestReader(remote, scratch, ()).read_header(value.name)
    assert (header.name, header.lineage, header.summary) == (
        value.name,
        value.lineage,
        summarize(value),
    )


def test_a_header_beyond_the_first_read_is_read_too(remote: MemoryRemote, scratch: str) -> None:
    value = manifest(5000, ancestors=[snapshot(number) for number in range(2000)])
    publish(remote, scratch, value)
    header = ManifestReader(remote, scratch, ()).read_header(value.name)
    assert header.lineage == value.lineage


def test_a_damaged_body_shows_when_a_manifest_is_verified_but_not_in_its_header(
    remote: MemoryRemote, scratch: str
) -> None:
    value = manifest(1, [entry("a")])
    publish(remote, scratch, value)
    reader = ManifestReader(remote, scratch, ())
    reader.verify(value.name)
    (data,) = remote.read(value.name.manifest_path, [Range(0, 1 << 20)])
    folder, _, name = value.name.manifest_path.partition("/")
    remote.create(folder, name, [data[:-1] + bytes([data[-1] ^ 1])])
    reader.read_header(value.name)
    with pytest.raises(CorruptError):
        reader.verify(value.name)


def test_a_scratch_folder_that_cannot_be_used_is_no_fault_of_the_manifests(
    remote: MemoryRemote, tmp_path: Path
) -> None:
    publish(remote, str(tmp_path), manifest(1), manifest(2))
    with pytest.raises(StoreError, match="cannot be used"):
        heads_of(remote, str(tmp_path / "missing"))


def crowd(remote: MemoryRemote, scratch: str, count: int) -> None:
    """Heads that do not know each other, each of three artifacts."""
    for number in range(1, count + 1):
        publish(remote, scratch, manifest(number, [entry(f"{number} {i}") for i in range(3)]))


@pytest.mark.parametrize(
    "budget", [ReadingBudget(files=4), ReadingBudget(entries=14)], ids=["files", "entries"]
)
def test_an_operation_reads_the_newest_manifests_that_its_budget_allows_and_says_so(
    remote: MemoryRemote, scratch: str, budget: ReadingBudget
) -> None:
    crowd(remote, scratch, 40)
    found = ManifestReader(remote, scratch, (), budget).heads(ADDRESS)
    assert times(found.manifests) == [37, 38, 39, 40]
    assert {problem.damage for problem in found.problems} == {Damage.UNREAD}
    assert (
        found.problems[-1].reason
        == f"{40 - 4 - len(found.problems) + 1} older manifests were not read either"
    )


def test_what_is_unpacked_counts_too(remote: MemoryRemote, scratch: str) -> None:
    crowd(remote, scratch, 1)
    (name,) = ManifestReader(remote, scratch, ()).names()
    size = remote.stat(name.manifest_path).size
    found = ManifestReader(remote, scratch, (), ReadingBudget(size=size + 100)).heads(ADDRESS)
    assert [problem.damage for problem in found.problems] == [Damage.UNREAD]
    found = ManifestReader(remote, scratch, (), ReadingBudget(size=size + 64 * 4096)).heads(ADDRESS)
    assert found.problems == ()


def test_files_that_are_no_manifests_hide_no_older_one_that_is(
    remote: MemoryRemote, scratch: str
) -> None:
    publish(remote, scratch, manifest(1), key=KEY)
    for number in range(2, 1200):
        remote.create("manifests", f"{manifest(number).name}.manifest", [b"planted"])
    found = ManifestReader(remote, scratch, (KEY,)).heads(ADDRESS)
    assert [head.name for head in found.manifests] == [manifest(1).name]


def test_thousands_of_files_that_are_no_manifests_are_not_all_looked_at(
    remote: MemoryRemote, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("b10_store.format.reading_budget.STRANGE", 1000)
    for number in range(1, 2000):
        remote.create("manifests", f"{manifest(number).name}.manifest", [b"planted"])
    counted = CountingRemote(remote)
    found = ManifestReader(counted, scratch, (KEY,)).heads(ADDRESS)
    assert found.manifests == ()
    assert len(counted.names("read")) < 2100
