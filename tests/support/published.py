"""Manifests put into a store without a save."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.format.manifest_file import encode_manifest

if TYPE_CHECKING:
    from b10_store.format.keys import SigningKey
    from b10_store.format.manifest import Manifest
    from b10_store.remote.protocol import Remote


def publish(
    remote: Remote, scratch: str, *manifests: Manifest, key: SigningKey | None = None
) -> None:
    """Write manifests under the names that are in them."""
    for manifest in manifests:
        folder, _, name = manifest.name.manifest_path.partition("/")
        remote.create(folder, name, [encode_manifest(manifest, scratch, key)])


def damage(remote: Remote, manifest: Manifest) -> None:
    """Put bytes in the place of a manifest that are none."""
    folder, _, name = manifest.name.manifest_path.partition("/")
    remote.create(folder, name, [b"damaged"])
