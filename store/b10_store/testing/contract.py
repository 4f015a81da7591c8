"""The tests, for pytest, that every `Remote` must pass.

Give `RemoteContract` a fixture `place` in a test module of your own, and each of its tests runs on
your remote:

    import pytest

    from b10_store.testing.contract import RemoteContract

    class TestBucketRemote(RemoteContract):
        @pytest.fixture
        def place(self) -> BucketPlace:
            return BucketPlace()

In a conftest.py, `pytest.register_assert_rewrite("b10_store.testing.contract")` makes failures more
informative.
"""

from __future__ import annotations

import itertools
import os
import threading
from typing import TYPE_CHECKING

import pytest

from b10_store.remote.protocol import Range, read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from b10_store.testing.places import Place

CONTENT = bytes(range(100))
LONG_AGO = 1_000_000_000.0


def _read_one(place: Place, start: int, length: int) -> bytes:
    (part,) = place.remote.read("packs/a", [Range(start, length)])
    return part


class RemoteContract:
    """The tests; a subclass whose name begins with `Test` provides the fixture `place`."""

    def test_a_listing_names_files_and_marks_folders(self, place: Place) -> None:
        place.put("packs/a", b"")
        place.put("packs/b.pack", b"1")
        place.put("packs/deeper/c", b"")
        place.put("trash/d", b"")
        assert sorted(place.remote.list("packs")) == ["a", "b.pack", "deeper/"]
        assert place.remote.list("packs/deeper") == ["c"]
        assert sorted(place.remote.list("")) == ["packs/", "trash/"]

    def test_a_folder_that_is_not_there_lists_as_empty(self, place: Place) -> None:
        assert place.remote.list("packs") == []
        place.put("packs/a", b"")
        assert place.remote.list("pack") == []

    def test_stat_tells_size_and_time(self, place: Place) -> None:
        place.put("packs/a", CONTENT, mtime=LONG_AGO)
        assert place.remote.stat("packs/a")[:2] == (len(CONTENT), LONG_AGO)

    @pytest.mark.skipif(os.name != "posix", reason="elsewhere a rename is not noted")
    def test_stat_tells_when_a_file_was_renamed(self, place: Place) -> None:
        place.put("packs/a", CONTENT, mtime=LONG_AGO)
        before = place.remote.now()
        place.remote.rename("packs/a", "trash/gc/a")
        assert before <= place.remote.stat("trash/gc/a").changed <= place.remote.now()

    def test_what_was_never_renamed_was_changed_when_it_was_written(self, place: Place) -> None:
        before = place.remote.now()
        place.remote.create("packs", "a", [CONTENT])
        token = place.remote.open_token("sessions/t")
        after = place.remote.now()
        token.close()
        for name in ("packs/a", "sessions/t"):
            found = place.remote.stat(name)
            assert before <= found.mtime <= found.changed <= after

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, 100, CONTENT),
            (10, 5, CONTENT[10:15]),
            (99, 1, CONTENT[99:]),
            (0, 0, b""),
            (40, 0, b""),
            (90, 20, CONTENT[90:]),
            (100, 1, b""),
            (5000, 10, b""),
            (5000, 0, b""),
            (-10, 10, CONTENT[90:]),
            (-10, 4, CONTENT[90:94]),
            (-10, 500, CONTENT[90:]),
            (-100, 100, CONTENT),
            (-5000, 3, CONTENT[:3]),
            (-5000, 5000, CONTENT),
            (0, 1 << 40, CONTENT),
        ],
    )
    def test_a_range_yields_what_the_file_has_of_it(
        self, place: Place, start: int, length: int, expected: bytes
    ) -> None:
        place.put("packs/a", CONTENT)
        assert _read_one(place, start, length) == expected

    def test_ranges_come_in_the_order_asked_for(self, place: Place) -> None:
        place.put("packs/a", CONTENT)
        asked = [Range(50, 2), Range(0, 3), Range(-1, 1), Range(50, 2), Range(200, 1)]
        parts = [CONTENT[50:52], CONTENT[:3], CONTENT[99:], CONTENT[50:52], b""]
        assert list(place.remote.read("packs/a", asked)) == parts

    def test_reading_no_ranges_or_an_empty_file_yields_nothing(self, place: Place) -> None:
        place.put("packs/a", b"")
        assert list(place.remote.read("packs/a", [])) == []
        assert _read_one(place, 0, 10) == b""
        assert _read_one(place, -10, 10) == b""

    def test_a_bounded_read_stops_at_its_limit(self, place: Place) -> None:
        place.put("packs/a", CONTENT)
        assert read_bounded(place.remote, "packs/a", 7) == CONTENT[:7]
        assert read_bounded(place.remote, "packs/a", 700) == CONTENT

    def test_each_read_opens_the_file_anew(self, place: Place) -> None:
        place.put("packs/a", b"old")
        assert _read_one(place, 0, 10) == b"old"
        place.put("packs/a", b"newer")
        assert _read_one(place, 0, 10) == b"newer"

    def test_one_read_keeps_to_one_file(self, place: Place) -> None:
        place.put("packs/a", b"old old")
        parts = place.remote.read("packs/a", [Range(0, 3), Range(4, 3)])
        assert next(parts) == b"old"
        place.remote.create("packs", "a", [b"new new"])
        assert next(parts) == b"old"

    def test_what_is_created_is_there_whole_and_alone(self, place: Place) -> None:
        place.remote.create("packs", "a", [b"one", b"", b" two", memoryview(b" three").tobytes()])
        assert place.get("packs/a") == b"one two three"
        assert place.names() == {"packs/a"}

    def test_a_file_can_be_created_at_the_top_of_the_store(self, place: Place) -> None:
        place.remote.create("", "FORMAT", [b"line"])
        assert place.get("FORMAT") == b"line"
        assert place.remote.list("") == ["FORMAT"]

    def test_a_file_without_chunks_is_created_empty(self, place: Place) -> None:
        place.remote.create("packs", "a", [])
        assert place.get("packs/a") == b""

    def test_a_name_may_depend_on_what_was_written(self, place: Place) -> None:
        written: list[bytes] = []

        def chunks() -> Iterator[bytes]:
            for chunk in (b"one", b"two"):
                written.append(chunk)
                yield chunk

        place.remote.create("packs", lambda: b"-".join(written).decode(), chunks())
        assert place.names() == {"packs/one-two"}

    def test_creating_replaces_a_file_of_that_name(self, place: Place) -> None:
        place.put("packs/a", b"a longer file than the new one")
        place.remote.create("packs", "a", [b"new"])
        assert place.get("packs/a") == b"new"

    @pytest.mark.parametrize("known_name", [True, False])
    @pytest.mark.parametrize("written_before", [0, 1, 3])
    def test_a_creation_that_fails_leaves_nothing(
        self, place: Place, known_name: bool, written_before: int
    ) -> None:
        place.put("packs/a", b"older")

        def chunks() -> Iterator[bytes]:
            yield from itertools.repeat(b"part of it", written_before)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            place.remote.create("packs", "a" if known_name else lambda: "a", chunks())
        assert place.names() == {"packs/a"}
        assert place.get("packs/a") == b"older"

    def test_a_name_that_cannot_be_had_leaves_nothing(self, place: Place) -> None:
        def no_name() -> str:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            place.remote.create("packs", no_name, [b"part"])
        assert place.names() == set()

    def test_a_token_is_created_empty_and_only_once(self, place: Place) -> None:
        place.remote.open_token("sessions/t").close()
        assert place.get("sessions/t") == b""
        with pytest.raises(FileExistsError):
            place.remote.open_token("sessions/t")

    def test_of_many_that_open_one_token_a_single_one_succeeds(self, place: Place) -> None:
        together = threading.Barrier(8)
        outcomes: list[str] = []

        def run() -> None:
            together.wait()
            try:
                place.remote.open_token("sessions/t").close()
            except FileExistsError:
                outcomes.append("exists")
            else:
                outcomes.append("opened")

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["exists"] * 7 + ["opened"]

    def test_a_token_takes_its_content_in_place(self, place: Place) -> None:
        token = place.remote.open_token("sessions/t")
        token.write([b"one ", b"two"])
        token.close()
        assert place.get("sessions/t") == b"one two"
        assert place.names() == {"sessions/t"}

    def test_a_second_write_of_a_token_replaces_the_first(self, place: Place) -> None:
        token = place.remote.open_token("sessions/t")
        token.write([b"a longer content than the second"])
        token.write([b"short"])
        token.close()
        assert place.get("sessions/t") == b"short"

    def test_a_token_can_be_written_after_a_write_that_failed(self, place: Place) -> None:
        def chunks() -> Iterator[bytes]:
            yield b"part of it"
            raise InterruptedError

        token = place.remote.open_token("sessions/t")
        with pytest.raises(InterruptedError):
            token.write(chunks())
        token.write([b"whole"])
        token.close()
        assert place.get("sessions/t") == b"whole"

    def test_a_token_stays_the_same_file_when_it_is_renamed(self, place: Place) -> None:
        token = place.remote.open_token("sessions/t")
        place.remote.rename("sessions/t", "fenced/t")
        token.write([b"late"])
        token.touch()
        token.close()
        assert place.names() == {"fenced/t"}
        assert place.get("fenced/t") == b"late"

    def test_a_token_never_reaches_another_file_of_its_name(self, place: Place) -> None:
        token = place.remote.open_token("sessions/t")
        place.remote.delete("sessions/t")
        place.put("sessions/t", b"somebody else's", mtime=LONG_AGO)
        token.write([b"mine"])
        token.touch()
        token.close()
        assert place.get("sessions/t") == b"somebody else's"
        assert place.mtime("sessions/t") == LONG_AGO

    def test_a_closed_token_refuses_to_be_used(self, place: Place) -> None:
        token = place.remote.open_token("sessions/t")
        token.close()
        token.close()
        with pytest.raises(OSError, match="closed"):
            token.write([b"late"])
        with pytest.raises(OSError, match="closed"):
            token.touch()
        assert place.get("sessions/t") == b""

    def test_a_rename_makes_the_folders_on_its_way(self, place: Place) -> None:
        place.put("packs/a", CONTENT, mtime=LONG_AGO)
        place.remote.rename("packs/a", "trash/gc/one/a")
        assert place.names() == {"trash/gc/one/a"}
        assert place.get("trash/gc/one/a") == CONTENT
        assert place.mtime("trash/gc/one/a") == LONG_AGO

    def test_a_rename_replaces_its_target(self, place: Place) -> None:
        place.put("packs/a", b"new")
        place.put("packs/b", b"old")
        place.remote.rename("packs/a", "packs/b")
        assert place.names() == {"packs/b"}
        assert place.get("packs/b") == b"new"

    def test_a_renamed_folder_takes_all_that_is_in_it_along(self, place: Place) -> None:
        place.put("trash/one/a", CONTENT, mtime=LONG_AGO)
        place.put("trash/one/deeper/b", b"b")
        place.put("trash/one-more/c", b"c")
        place.remote.rename("trash/one", "trash/two")
        assert place.names() == {"trash/two/a", "trash/two/deeper/b", "trash/one-more/c"}
        assert place.get("trash/two/a") == CONTENT
        assert place.mtime("trash/two/a") == LONG_AGO
        assert sorted(place.remote.list("trash")) == ["one-more/", "two/"]
        assert place.remote.list("trash/one") == []

    def test_a_folder_can_be_renamed_to_where_no_folder_is_yet(self, place: Place) -> None:
        place.put("one/a", CONTENT)
        place.remote.rename("one", "trash/gc/two")
        assert place.names() == {"trash/gc/two/a"}
        assert place.remote.list("") == ["trash/"]

    def test_of_many_that_rename_one_folder_a_single_one_succeeds(self, place: Place) -> None:
        for number in range(5):
            place.put(f"trash/one/{number}", b"")
        together = threading.Barrier(8)
        succeeded: list[int] = []

        def run(number: int) -> None:
            together.wait()
            try:
                place.remote.rename("trash/one", f"trash/by-{number}")
            except FileNotFoundError:
                return
            succeeded.append(number)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = succeeded
        assert place.names() == {f"trash/by-{winner}/{number}" for number in range(5)}

    def test_a_token_stays_the_same_file_when_its_folder_is_renamed(self, place: Place) -> None:
        token = place.remote.open_token("trash/one/t")
        place.remote.rename("trash/one", "trash/two")
        token.write([b"late"])
        token.close()
        assert place.names() == {"trash/two/t"}
        assert place.get("trash/two/t") == b"late"

    def test_an_empty_folder_is_removed(self, place: Place) -> None:
        place.put("trash/one/a", b"")
        place.put("trash/two/b", b"")
        place.remote.delete("trash/one/a")
        place.remote.remove_folder("trash/one")
        assert place.remote.list("trash") == ["two/"]

    @pytest.mark.parametrize("inside", ["a", "deeper/a"])
    def test_a_folder_that_is_not_empty_is_left_as_it_is(self, place: Place, inside: str) -> None:
        place.put(f"trash/one/{inside}", CONTENT)
        place.remote.remove_folder("trash/one")
        assert place.names() == {f"trash/one/{inside}"}
        assert place.get(f"trash/one/{inside}") == CONTENT

    def test_removing_a_folder_that_is_not_there_changes_nothing(self, place: Place) -> None:
        place.put("trash/one/a", b"")
        place.remote.remove_folder("trash/two")
        place.remote.remove_folder("fenced/two")
        assert place.names() == {"trash/one/a"}
        assert place.remote.list("") == ["trash/"]

    def test_a_folder_that_was_removed_is_made_again_when_it_is_needed(self, place: Place) -> None:
        place.put("trash/one/a", b"")
        place.remote.delete("trash/one/a")
        place.remote.remove_folder("trash/one")
        place.put("packs/b", b"b")
        place.remote.rename("packs/b", "trash/one/b")
        place.remote.create("trash/one", "mark", [b""])
        assert place.names() == {"trash/one/b", "trash/one/mark"}

    def test_what_is_not_there_is_reported_as_not_found(self, place: Place) -> None:
        place.put("packs/other", b"")
        with pytest.raises(FileNotFoundError):
            place.remote.stat("packs/a")
        with pytest.raises(FileNotFoundError):
            list(place.remote.read("packs/a", [Range(0, 1)]))
        with pytest.raises(FileNotFoundError):
            place.remote.rename("packs/a", "packs/b")
        with pytest.raises(FileNotFoundError):
            place.remote.rename("packs/a", "trash/new/b")
        with pytest.raises(FileNotFoundError):
            place.remote.rename("trash/folder", "trash/other")
        with pytest.raises(FileNotFoundError):
            place.remote.touch("packs/a")
        with pytest.raises(FileNotFoundError):
            place.remote.delete("packs/a")
        assert place.names() == {"packs/other"}

    def test_what_is_deleted_is_gone_and_nothing_else(self, place: Place) -> None:
        place.put("packs/a", b"")
        place.put("packs/b", b"")
        place.remote.delete("packs/a")
        assert place.names() == {"packs/b"}

    def test_a_touch_sets_the_present_time_and_changes_nothing_else(self, place: Place) -> None:
        place.put("packs/a", CONTENT, mtime=LONG_AGO)
        before = place.remote.now()
        place.remote.touch("packs/a")
        assert before <= place.mtime("packs/a") <= place.remote.now()
        assert place.get("packs/a") == CONTENT

    def test_a_token_is_touched_through_its_descriptor(self, place: Place) -> None:
        token = place.remote.open_token("sessions/t")
        place.remote.rename("sessions/t", "fenced/t")
        place.put("sessions/t", b"another", mtime=LONG_AGO)
        before = place.remote.now()
        token.touch()
        token.close()
        assert before <= place.mtime("fenced/t") <= place.remote.now()
        assert place.mtime("sessions/t") == LONG_AGO

    def test_the_time_never_goes_back_and_is_the_one_of_new_files(self, place: Place) -> None:
        for count in range(20):
            before = place.remote.now()
            place.remote.create("packs", f"{count}", [b"x"])
            created = place.mtime(f"packs/{count}")
            token = place.remote.open_token(f"sessions/{count}")
            opened = place.mtime(f"sessions/{count}")
            token.close()
            assert before <= created <= opened <= place.remote.now()

    def test_asking_the_time_leaves_nothing(self, place: Place) -> None:
        place.remote.now()
        assert place.names() == set()
