from __future__ import annotations

import contextlib
import itertools
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b10_store.digest import digest_of
from b10_store.errors import CorruptError, LimitError, WeakKeyError
from b10_store.format.keys import PrivateKey, PublicKey, SigningKey
from b10_store.format.seal import (
    BODY_LIMIT,
    HEADER_LIMIT,
    PREFIX_LIMIT,
    PREFIX_SIZE,
    Prefix,
    open_body,
    open_header,
    open_prefix,
    seal,
)

if TYPE_CHECKING:
    from b10_store.format.keys import Key

KEY = SigningKey(b"a secret of enough bytes")
OTHER_KEY = SigningKey(b"another secret, as long")
FIELDS = struct.Struct("<8sIIQ32s32s")


def open_all(data: bytes, keys: tuple[Key, ...] = ()) -> tuple[bytes, bytes]:
    prefix = open_prefix(data, keys)
    return open_header(prefix, data), open_body(prefix, data)


def changed(data: bytes, position: int, change: int) -> bytes:
    return data[:position] + bytes([data[position] ^ change]) + data[position + 1 :]


def forged(
    *,
    magic: bytes = b"B10SEAL1",
    flags: int = 0,
    header_length: int = 6,
    body_length: int = 4,
    key: SigningKey | None = None,
) -> bytes:
    """A sealed file with a right seal, whatever its prefix says."""
    digests = (bytes.fromhex(digest_of(b"header")), bytes.fromhex(digest_of(b"body")))
    fields = FIELDS.pack(magic, header_length, flags, body_length, *digests)
    mark = bytes.fromhex(digest_of(fields)) if key is None else key.seal(fields)
    return fields + mark + b"header" + b"body"


@given(st.binary(max_size=300), st.binary(max_size=300), st.sampled_from([None, KEY]))
def test_what_is_sealed_is_opened(header: bytes, body: bytes, key: SigningKey | None) -> None:
    data = seal(header, body, key)
    assert len(data) == PREFIX_SIZE + len(header) + len(body)
    assert open_all(data) == (header, body)
    assert open_prefix(data).signed == (key is not None)
    if key is not None:
        assert open_all(data, (OTHER_KEY, key)) == (header, body)


def test_the_layout_is_the_documented_one() -> None:
    assert forged() == seal(b"header", b"body")
    assert forged(flags=1, key=KEY) == seal(b"header", b"body", KEY)


def test_a_header_can_be_opened_without_the_body() -> None:
    data = seal(b"header", b"body")
    prefix = open_prefix(data[:PREFIX_SIZE])
    assert prefix == Prefix(
        6, 4, digest_of(b"header"), digest_of(b"body"), size=PREFIX_SIZE, signed=False
    )
    assert open_header(prefix, data[: PREFIX_SIZE + 6]) == b"header"


@pytest.mark.parametrize("keys", [(KEY,), (OTHER_KEY, KEY)])
def test_with_a_key_set_an_unsigned_file_is_refused(keys: tuple[SigningKey, ...]) -> None:
    with pytest.raises(CorruptError, match="not signed"):
        open_prefix(seal(b"header", b"body"), keys)


def test_a_file_signed_with_another_key_is_refused() -> None:
    with pytest.raises(CorruptError, match="seal"):
        open_prefix(seal(b"header", b"body", OTHER_KEY), (KEY,))


def test_a_plain_digest_does_not_pass_for_a_signature() -> None:
    with pytest.raises(CorruptError, match="seal"):
        open_prefix(forged(flags=1, key=None), (KEY,))
    with pytest.raises(CorruptError, match="seal"):
        open_prefix(forged(flags=0, key=KEY))


def test_every_changed_byte_of_a_signed_file_is_noticed() -> None:
    data = seal(b"header", b"body", KEY)
    for position, change in itertools.product(range(len(data)), (0x01, 0x80, 0xFF)):
        with pytest.raises((CorruptError, LimitError)):
            open_all(changed(data, position, change), (KEY,))


def test_no_changed_byte_lets_other_bytes_through() -> None:
    data = seal(b"header", b"body")
    unnoticed: list[int] = []
    for position, change in itertools.product(range(len(data)), (0x01, 0x80, 0xFF)):
        try:
            assert open_all(changed(data, position, change)) == (b"header", b"body")
        except (CorruptError, LimitError):
            continue
        unnoticed.append(position)
    # The flag that says the seal is a MAC, which nobody without a key can check.
    assert unnoticed == [12]


def test_a_changed_byte_of_a_signed_file_is_noticed_without_the_key_too() -> None:
    data = seal(b"header", b"body", KEY)
    for position in (*range(8), *range(24, 88), *range(PREFIX_SIZE, len(data))):
        with pytest.raises((CorruptError, LimitError)):
            open_all(changed(data, position, 0x80))


@pytest.mark.parametrize("key", [None, KEY])
def test_every_truncation_and_every_addition_is_noticed(key: SigningKey | None) -> None:
    data = seal(b"header", b"body", key)
    for length in range(len(data)):
        with pytest.raises(CorruptError):
            open_all(data[:length])
    with pytest.raises(CorruptError):
        open_all(data + b"\0")


def test_parts_of_two_files_do_not_make_a_third() -> None:
    one, two = seal(b"header", b"body", KEY), seal(b"HEADER", b"BODY", KEY)
    for cut in (56, 88, PREFIX_SIZE, PREFIX_SIZE + 6):
        with pytest.raises(CorruptError):
            open_all(one[:cut] + two[cut:], (KEY,))


@pytest.mark.parametrize("flags", [3, 4, 1 << 31])
def test_unknown_flags_are_refused(flags: int) -> None:
    with pytest.raises(CorruptError, match="not a sealed file"):
        open_prefix(forged(flags=flags))


def test_another_magic_is_refused() -> None:
    with pytest.raises(CorruptError, match="not a sealed file"):
        open_prefix(forged(magic=b"B10SEAL2"))


@pytest.mark.parametrize(
    ("header_length", "body_length"),
    [(HEADER_LIMIT + 1, 4), (6, BODY_LIMIT + 1), ((1 << 32) - 1, 4), (6, (1 << 64) - 1)],
)
def test_declared_lengths_beyond_the_limits_are_refused(
    header_length: int, body_length: int
) -> None:
    with pytest.raises(LimitError):
        open_prefix(forged(header_length=header_length, body_length=body_length))


def test_declared_lengths_within_the_limits_are_accepted() -> None:
    prefix = open_prefix(forged(header_length=HEADER_LIMIT, body_length=BODY_LIMIT))
    assert (prefix.header_length, prefix.body_length) == (HEADER_LIMIT, BODY_LIMIT)


def test_a_key_is_made_of_a_secret_of_at_least_16_bytes() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        SigningKey(b"x" * 15)
    assert SigningKey(b"x" * 16).seal(b"data") != SigningKey(b"x" * 17).seal(b"data")


def test_a_key_does_not_show_its_secret() -> None:
    secret = b"not to be seen anywhere"
    key = SigningKey(secret)
    shown = f"{key!r} {key!s} {key.seal(b'data')!r}"
    assert secret.decode() not in shown
    assert secret.hex() not in shown


# Key pairs.

PRIVATE = PrivateKey(bytes(range(32)))
OTHER_PRIVATE = PrivateKey(bytes(range(1, 33)))


def test_what_a_private_key_signed_its_public_key_verifies() -> None:
    data = seal(b"header", b"body", PRIVATE)
    assert len(data) == PREFIX_LIMIT + len(b"header") + len(b"body")
    for keys in ((PRIVATE,), (PRIVATE.public,), (KEY, OTHER_PRIVATE.public, PRIVATE.public)):
        assert open_all(data, keys) == (b"header", b"body")
        assert open_prefix(data, keys).by_older_key is (len(keys) > 1)
    assert open_all(data) == (b"header", b"body")
    assert open_prefix(data).signed


@pytest.mark.parametrize("keys", [(OTHER_PRIVATE.public,), (KEY,), (OTHER_PRIVATE, KEY)])
def test_a_signature_by_another_key_is_refused(keys: tuple[Key, ...]) -> None:
    with pytest.raises(CorruptError, match="does not fit any key"):
        open_prefix(seal(b"header", b"body", PRIVATE), keys)


@pytest.mark.parametrize("key", [None, KEY])
def test_where_a_public_key_is_set_neither_a_digest_nor_a_mac_will_do(key: Key | None) -> None:
    with pytest.raises(CorruptError, match=r"not signed|does not fit any key"):
        open_prefix(seal(b"header", b"body", key), (PRIVATE.public,))


def test_who_has_the_public_key_alone_can_not_sign() -> None:
    with pytest.raises(ValueError, match="cannot sign"):
        seal(b"header", b"body", PRIVATE.public)
    # Not by naming the trusted key beside a signature of its own either.
    data = seal(b"header", b"body", OTHER_PRIVATE)
    named = data[:120] + PRIVATE.public.data + data[152:]
    with pytest.raises(CorruptError, match="does not fit any key"):
        open_prefix(named, (PRIVATE.public,))


def small_order_keys() -> list[bytes]:
    """Each way to write one of the eight points of small order, those over the field's too."""
    field = 2**255 - 19
    order_8 = int.from_bytes(
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
    )
    heights = (0, 1, field - 1, order_8, field - order_8)
    values = [y + more for y in heights for more in (0, field) if y + more < 2**255]
    return [(y | sign << 255).to_bytes(32, "little") for y in values for sign in (0, 1)]


@pytest.mark.parametrize("weak", small_order_keys(), ids=bytes.hex)
def test_a_key_for_which_anybody_can_sign_is_refused(weak: bytes) -> None:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    invalid = pytest.importorskip("cryptography.exceptions").InvalidSignature
    forged = (1).to_bytes(32, "little") + bytes(32)  # the curve's neutral point, and zero
    key = ed25519.Ed25519PublicKey.from_public_bytes(weak)
    accepted = 0
    for number in range(200):
        with contextlib.suppress(invalid):
            key.verify(forged, str(number).encode())
            accepted += 1
    assert accepted, "what this test is about"
    with pytest.raises(WeakKeyError, match="anybody can sign"):
        PublicKey(weak)


def test_every_changed_byte_of_a_file_signed_with_a_private_key_is_noticed() -> None:
    data = seal(b"header", b"body", PRIVATE)
    for position, change in itertools.product(range(len(data)), (0x01, 0x80)):
        with pytest.raises((CorruptError, LimitError)):
            open_all(changed(data, position, change), (PRIVATE.public,))


def test_every_truncation_of_a_file_signed_with_a_private_key_is_noticed() -> None:
    data = seal(b"header", b"body", PRIVATE)
    for length, keys in itertools.product(range(len(data)), ((), (PRIVATE.public,))):
        with pytest.raises(CorruptError):
            open_all(data[:length], keys)


def test_a_signature_is_over_what_the_format_says() -> None:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    data = seal(b"header", b"body", PRIVATE)
    fields, digest, public, signature = data[:88], data[88:120], data[120:152], data[152:216]
    assert digest == bytes.fromhex(digest_of(fields))
    assert public == PRIVATE.public.data
    verifier = ed25519.Ed25519PublicKey.from_public_bytes(public)
    verifier.verify(signature, b"b10-transfer 2026 manifest signature v1\0" + fields)


def test_halves_of_a_pair_have_32_bytes_and_show_no_secret() -> None:
    for kind in (PrivateKey, PublicKey):
        with pytest.raises(ValueError, match="32 bytes"):
            kind(b"x" * 31)
    assert PRIVATE.fingerprint == PRIVATE.public.fingerprint != OTHER_PRIVATE.fingerprint
    assert bytes(range(32)).hex() not in f"{PRIVATE!r} {PRIVATE!s} {PRIVATE.fingerprint}"
