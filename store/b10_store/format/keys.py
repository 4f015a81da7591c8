"""The keys of a host: one seals what it publishes, and it believes the seals of all.

A `SigningKey` is a shared secret: everybody who can verify with it can also sign with it. A
`PrivateKey` signs (Ed25519, RFC 8032), and its `PublicKey` can only verify: readers that hold only
public keys cannot publish anything that another reader believes.

A host has a tuple of keys. Each verifies; the first one signs, unless it is a public key.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Protocol

from b10_store.digest import derive_key, digest_of, keyed_digest
from b10_store.errors import CannotSignError, MissingLibraryError, WeakKeyError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAC_SIZE = 32
"""The length of a seal by a `SigningKey`, or without a key, in bytes."""
SIGNATURE_SIZE = 128
"""The length of a seal by a `PrivateKey`: BLAKE3 of the data, the public key, the signature."""
KEY_SIZE = 32
"""The length of a private and of a public key, in bytes."""

_MAC_PURPOSE = "b10-transfer 2026 manifest seal v1"
_SIGNATURE_PURPOSE = b"b10-transfer 2026 manifest signature v1\0"

_FIELD = (1 << 255) - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset({0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8})
"""The y of the curve's eight points whose order is 1, 2, 4 or 8."""


class Key(Protocol):
    """A key of a host."""

    @property
    def signs(self) -> bool:
        """Whether it can seal, and not only verify."""
        ...

    @property
    def is_public_key(self) -> bool:
        """Whether its seals are signatures that a public key verifies."""
        ...

    @property
    def fingerprint(self) -> str:
        """Return 16 hex digits that identify the key, and do not help to forge seals."""
        ...

    def seal(self, data: bytes) -> bytes:
        """Return the seal of `data`.

        Raises:
            ValueError: the key cannot sign.
        """
        ...

    def made(self, seal: bytes, data: bytes) -> bool:
        """Return whether this key made the seal of `data`."""
        ...


class SigningKey:
    """A secret that all hosts share. Its bytes never appear in a repr or a log."""

    __slots__ = ("_key",)
    signs = True
    is_public_key = False

    def __init__(self, secret: bytes) -> None:
        """Derive the sealing key from a secret of any length.

        Raises:
            ValueError: the secret is shorter than 16 bytes.
        """
        if len(secret) < 16:
            raise ValueError("a signing key has at least 16 bytes")
        self._key = derive_key(secret, _MAC_PURPOSE)

    @property
    def fingerprint(self) -> str:
        """See `Key`."""
        return self.seal(b"fingerprint").hex()[:16]

    def seal(self, data: bytes) -> bytes:
        """Return the MAC of `data`, 32 bytes."""
        return keyed_digest(self._key, data)

    def made(self, seal: bytes, data: bytes) -> bool:
        """See `Key`."""
        return hmac.compare_digest(seal, self.seal(data))


class PublicKey:
    """The half of an Ed25519 key that verifies."""

    __slots__ = ("_key", "data")
    signs = False
    is_public_key = True

    def __init__(self, data: bytes) -> None:
        """Take a public key of 32 bytes.

        Raises:
            ValueError: it has another length.
            WeakKeyError: it does not belong to any private key.
            MissingLibraryError: `cryptography` is not installed.
        """
        if len(data) != KEY_SIZE:
            raise ValueError(f"a public key has {KEY_SIZE} bytes")
        if _is_weak(data):
            raise WeakKeyError("a public key of small order: anybody can sign for it")
        self._key: Any = _ed25519().Ed25519PublicKey.from_public_bytes(data)
        self.data = data

    @property
    def fingerprint(self) -> str:
        """See `Key`."""
        return digest_of(self.data)[:16]

    def seal(self, data: bytes) -> bytes:
        """Refuse: see `Key`."""
        raise ValueError(f"a public key cannot sign ({len(data)} bytes)")

    def made(self, seal: bytes, data: bytes) -> bool:
        """See `Key`."""
        digest, public, signature = seal[:32], seal[32:64], seal[64:]
        if public != self.data or digest != bytes.fromhex(digest_of(data)):
            return False
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, _SIGNATURE_PURPOSE + data)
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """An Ed25519 key that signs. Its bytes never appear in a repr or a log."""

    __slots__ = ("_key", "public")
    signs = True
    is_public_key = True

    def __init__(self, data: bytes) -> None:
        """Take a private key of 32 bytes.

        Raises:
            ValueError: it has another length.
            MissingLibraryError: `cryptography` is not installed.
        """
        if len(data) != KEY_SIZE:
            raise ValueError(f"a private key has {KEY_SIZE} bytes")
        self._key: Any = _ed25519().Ed25519PrivateKey.from_private_bytes(data)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    @property
    def fingerprint(self) -> str:
        """See `Key`; it is that of its public key."""
        return self.public.fingerprint

    def seal(self, data: bytes) -> bytes:
        """Return the digest of `data`, the public key and the signature, 128 bytes."""
        signature: bytes = self._key.sign(_SIGNATURE_PURPOSE + data)
        return bytes.fromhex(digest_of(data)) + self.public.data + signature

    def made(self, seal: bytes, data: bytes) -> bool:
        """See `Key`."""
        return self.public.made(seal, data)


def _is_weak(public: bytes) -> bool:
    """Return whether a public key is a point of small order, in any encoding.

    For such a key OpenSSL accepts a signature that was made without a private key, for all data or
    every eighth.
    """
    y = int.from_bytes(public, "little") & ((1 << 255) - 1)  # the highest bit is x's
    return y % _FIELD in _SMALL_ORDER


def signer_of(keys: Sequence[Key]) -> Key | None:
    """Return the key that a host signs with; None when it has no keys at all.

    Raises:
        CannotSignError: it has keys, but the first one only verifies. Nobody, itself included,
            would believe what it publishes without a signature.
    """
    if not keys:
        return None
    if not keys[0].signs:
        raise CannotSignError("this host has public keys only, and cannot sign what it saves")
    return keys[0]


def _ed25519() -> Any:  # noqa: ANN401  # a module of an optional package
    # Only hosts with such a key need the package, and importing it takes 40 ms.
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingLibraryError("the package cryptography is not installed") from error
    return ed25519
