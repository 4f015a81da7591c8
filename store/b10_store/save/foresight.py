"""A guess at what a save will upload, made before anything is hashed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store.format.manifest import Identity
    from b10_store.format.names import Address
    from b10_store.manifests.reader import ManifestReader


def expected_uploads(reader: ManifestReader, address: Address) -> Callable[[Identity], bool]:
    """Guess which artifacts a save under `address` will upload: those that no head lists.

    None when another namespace of the same environment key was saved and this one was not: it
    probably has the same blobs. Nor where the store cannot be read, which the save will find out.
    """
    try:
        names = [
            name
            for name in reader.names()
            if name.address.environment_key == address.environment_key
        ]
        is_listed = any(name.address == address for name in names)
        heads = reader.heads(address).manifests if is_listed else ()
    except (OSError, StoreError):
        return _nothing
    if names and not is_listed:
        return _nothing
    return lambda identity: not any(identity in head.entries for head in heads)


def _nothing(_: Identity) -> bool:
    return False
