from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b10_store.digest import digest_of
from b10_store.errors import CorruptError, UnsupportedFormatError
from b10_store.format.names import (
    FORMAT_VERSION,
    Address,
    SnapshotId,
    SnapshotName,
    check_format_line,
    format_line,
    is_namespace,
    new_snapshot_id,
    pack_id_of,
    pack_path,
    parse_manifest_name,
    parse_pack_name,
    parse_session_name,
    parse_snapshot_id,
    snapshot_milliseconds,
)
from tests.support.strategies import ADDRESSES, DIGESTS, SNAPSHOTS

KEY = "0123456789abcdef" * 2
STAMP = "1700000000000-" + "0" * 32


@given(ADDRESSES, SNAPSHOTS)
def test_a_snapshot_is_known_by_the_names_of_its_files(
    address: Address, snapshot: SnapshotId
) -> None:
    name = SnapshotName(address, snapshot)
    folder, _, file = name.manifest_path.partition("/")
    assert folder == "manifests"
    assert parse_manifest_name(file) == name
    assert parse_session_name(file) is None
    folder, _, file = name.session_path.partition("/")
    assert folder == "sessions"
    assert parse_session_name(file) == name
    assert parse_manifest_name(file) is None
    assert len(file) <= 255


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".manifest",
        f"{KEY}~{STAMP}",
        f"{KEY}~{STAMP}.session",
        f"{KEY}~{STAMP}.manifest.tmp-0011",
        f"{KEY}~{STAMP}.manifest\n",
        f"{KEY}.~{STAMP}.manifest",
        f"{KEY}.UPPER~{STAMP}.manifest",
        f"{KEY}.{'n' * 65}~{STAMP}.manifest",
        f"{KEY.upper()}~{STAMP}.manifest",
        f"{KEY[1:]}~{STAMP}.manifest",
        f"{KEY}~{STAMP[1:]}.manifest",
        f"../{KEY}~{STAMP}.manifest",
    ],
)
def test_a_file_of_another_name_is_no_manifest(name: str) -> None:
    assert parse_manifest_name(name) is None


@pytest.mark.parametrize("key", ["", "0" * 31, "0" * 33, "G" * 32, "A" * 32, "../" + "0" * 29])
def test_an_address_takes_only_keys_of_32_hex_digits(key: str) -> None:
    with pytest.raises(ValueError, match="environment key"):
        Address(key)


@pytest.mark.parametrize("namespace", ["Upper", "a b", "a.b", "a/b", "..", "n" * 65, "a~b", "é"])
def test_an_address_takes_only_namespaces_that_fit_a_file_name(namespace: str) -> None:
    assert not is_namespace(namespace)
    with pytest.raises(ValueError, match="namespace"):
        Address(KEY, namespace)


def test_no_namespace_and_any_other_are_different_addresses() -> None:
    assert not is_namespace("")
    assert is_namespace("my-model_2")
    assert str(Address(KEY)) == KEY
    assert str(Address(KEY, "my-model_2")) == f"{KEY}.my-model_2"


@given(st.floats(0, 9_999_999_999), st.floats(0, 9_999_999_999))
def test_snapshot_ids_sort_by_time(one: float, two: float) -> None:
    first, second = sorted([one, two])
    earlier, later = new_snapshot_id(first), new_snapshot_id(second)
    assert earlier[:13] <= later[:13]
    assert snapshot_milliseconds(earlier) == int(first * 1000)
    assert parse_snapshot_id(later) == later


def test_snapshot_ids_of_one_moment_differ() -> None:
    assert len({new_snapshot_id(1.0) for _ in range(100)}) == 100


def test_a_clock_before_1970_still_gives_an_id() -> None:
    assert snapshot_milliseconds(parse_snapshot_id(new_snapshot_id(-5.0))) == 0


@pytest.mark.parametrize("ticks", [0.0, 0.001, -5.0])
def test_a_snapshot_is_later_than_the_one_it_carries_on(ticks: float) -> None:
    first = new_snapshot_id(1_700_000_000.0)
    second = new_snapshot_id(1_700_000_000.0 + ticks, first)
    assert second > first


def test_an_id_from_a_wrong_clock_does_not_drag_later_ones_along() -> None:
    wrong = new_snapshot_id(1_900_000_000.0)
    assert snapshot_milliseconds(new_snapshot_id(1_700_000_000.0, wrong)) == 1_700_000_000_000


@pytest.mark.parametrize(
    "text", ["", STAMP[:-1], STAMP + "0", STAMP + "\n", STAMP.replace("-", "_")]
)
def test_what_is_no_snapshot_id_is_refused(text: str) -> None:
    with pytest.raises(CorruptError, match="not a snapshot id"):
        parse_snapshot_id(text)


@given(DIGESTS)
def test_a_pack_is_known_by_the_name_of_its_file(digest: str) -> None:
    pack = pack_id_of(digest_of(digest.encode()))
    folder, _, file = pack_path(pack).partition("/")
    assert folder == "packs"
    assert parse_pack_name(file) == pack


@pytest.mark.parametrize(
    "name", ["", "a.pack", "0" * 64, f"{'0' * 64}.pack.tmp-1", f"{'F' * 64}.pack"]
)
def test_a_file_of_another_name_is_no_pack(name: str) -> None:
    assert parse_pack_name(name) is None


def test_the_format_line_is_one_readable_line() -> None:
    line = format_line().decode("ascii")
    assert re.fullmatch(r"b10-transfer store, format 1, check [0-9a-f]{16}\n", line)
    assert check_format_line(line.encode())
    assert check_format_line(line.rstrip("\n").encode())


@pytest.mark.parametrize("version", [0, 2, 10, 999_999_999])
def test_another_version_is_an_error_that_names_both(version: int) -> None:
    with pytest.raises(
        UnsupportedFormatError, match=f"format {version}, .* format {FORMAT_VERSION}"
    ):
        check_format_line(format_line(version))


@given(st.binary(max_size=120))
def test_no_other_bytes_pass_for_the_format_line(data: bytes) -> None:
    try:
        intact = check_format_line(data)
    except UnsupportedFormatError:
        return
    assert intact == (data.rstrip(b"\n") == format_line().rstrip(b"\n"))


@pytest.mark.parametrize("length", [0, 1, 20, len(format_line()) - 2])
def test_a_line_that_is_cut_short_or_zeroed_is_damage(length: int) -> None:
    assert not check_format_line(format_line()[:length])
    assert not check_format_line(bytes(length))


@pytest.mark.parametrize(
    "data", [b"something else\n", b"b10-transfer store, format two, whatever else it may be\n"]
)
def test_a_file_that_is_not_ours_is_an_error_and_not_damage(data: bytes) -> None:
    with pytest.raises(UnsupportedFormatError, match="FORMAT"):
        check_format_line(data)


def test_every_changed_byte_is_damage_and_not_another_version() -> None:
    line = format_line()
    for position, byte in itertools.product(range(len(line) - 1), range(256)):
        if byte != line[position]:
            assert not check_format_line(line[:position] + bytes([byte]) + line[position + 1 :])
