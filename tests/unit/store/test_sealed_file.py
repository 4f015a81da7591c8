"""How much of a sealed file is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.errors import CorruptError
from b10_store.format.keys import SigningKey
from b10_store.format.reading_budget import BudgetError, ReadingBudget
from b10_store.format.seal import PREFIX_LIMIT, open_body, open_prefix, seal
from b10_store.format.sealed_file import read_sealed
from b10_store.remote.memory import MemoryRemote
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from b10_store.remote.protocol import Range

KEY = SigningKey(b"a secret of enough bytes")
MIB = 1 << 20
NAME = "manifests/a"


class Measuring(WrappedRemote):
    """Counts the bytes that are read, and how often a file is opened."""

    def __init__(self, data: bytes) -> None:
        super().__init__(MemoryRemote(lambda: 0.0))
        self.inner.create("manifests", "a", [data])
        self.bytes = 0
        self.opened = 0

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        self.opened += 1
        for data in self.inner.read(name, ranges):
            self.bytes += len(data)
            yield data


@pytest.mark.parametrize("size", [0, 10, MIB, 9 * MIB])
@pytest.mark.parametrize("keys", [(), (KEY,)])
def test_a_whole_file_is_read_through_one_open(size: int, keys: tuple[SigningKey, ...]) -> None:
    data = seal(b"header", b"\1" * size, *keys)
    remote = Measuring(data)
    assert read_sealed(remote, NAME, keys) == data
    assert remote.opened == 1


@pytest.mark.parametrize("data", [seal(b"", bytes(9 * MIB)), bytes(9 * MIB), seal(b"", b"")[:100]])
def test_of_what_no_key_signed_only_the_seal_is_read(data: bytes) -> None:
    remote = Measuring(data)
    assert read_sealed(remote, NAME, (KEY,)) == data[:PREFIX_LIMIT]
    assert remote.bytes <= PREFIX_LIMIT


def test_a_file_that_is_longer_than_its_seal_says_is_not_read_to_its_end() -> None:
    remote = Measuring(seal(b"header", b"body") + bytes(40 * MIB))
    data = read_sealed(remote, NAME)
    assert remote.bytes < 5 * MIB
    with pytest.raises(CorruptError):
        open_body(open_prefix(data), data)


def test_a_byte_too_many_shows() -> None:
    whole = seal(b"header", b"\1" * (4 * MIB - 6 - 96))
    data = read_sealed(Measuring(whole + b"x"), NAME)
    with pytest.raises(CorruptError):
        open_body(open_prefix(data), data)


def test_what_is_beyond_the_budget_is_not_read() -> None:
    remote = Measuring(seal(b"", bytes(9 * MIB)))
    with pytest.raises(BudgetError, match="left room for 1048576 more bytes in one operation"):
        read_sealed(remote, NAME, budget=ReadingBudget(size=MIB))
    assert remote.bytes == PREFIX_LIMIT
