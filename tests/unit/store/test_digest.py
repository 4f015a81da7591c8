from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from b10_store.digest import (
    DIGEST_SIZE,
    derive_key,
    digest_from_bytes,
    digest_of,
    digest_of_chunks,
    keyed_digest,
    parse_digest,
)
from b10_store.errors import CorruptError

# From the test vectors of the BLAKE3 project: no input.
EMPTY = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_the_digest_is_blake3() -> None:
    assert digest_of(b"") == EMPTY
    assert digest_of(memoryview(b"abc")) == blake3(b"abc").hexdigest()


@given(st.lists(st.binary(max_size=50)))
def test_chunks_hash_as_their_concatenation(chunks: list[bytes]) -> None:
    assert digest_of_chunks(iter(chunks)) == digest_of(b"".join(chunks))


@given(st.binary())
def test_a_digest_survives_its_text_and_its_binary_form(data: bytes) -> None:
    digest = digest_of(data)
    raw = bytes.fromhex(digest)
    assert len(raw) == DIGEST_SIZE
    assert parse_digest(str(digest)) == digest
    assert digest_from_bytes(raw) == digest_from_bytes(memoryview(raw)) == digest


@pytest.mark.parametrize(
    "text", ["", "ab", EMPTY[:-1], EMPTY + "0", EMPTY.upper(), EMPTY[:-1] + "g", EMPTY[:-1] + " "]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(CorruptError, match="not a digest"):
        parse_digest(text)


def test_a_key_depends_on_secret_and_purpose() -> None:
    keys = {
        derive_key(secret, purpose) for secret in (b"one", b"two") for purpose in ("seal", "else")
    }
    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}


def test_a_keyed_digest_depends_on_key_and_data() -> None:
    codes = {keyed_digest(bytes([key]) * 32, data) for key in (1, 2) for data in (b"a", b"b")}
    assert len(codes) == 4
    assert keyed_digest(bytes(32), b"a") != bytes.fromhex(digest_of(b"a"))
