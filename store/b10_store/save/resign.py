"""Sign again: publish again, signed with the first key, what another key signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.errors import StoreError
from b10_store.format.keys import signer_of
from b10_store.format.manifest import Manifest, referenced_packs
from b10_store.format.manifest_file import encode_manifest
from b10_store.manifests.lineage import lineage_like_newest
from b10_store.manifests.merge import merge, with_good_packs
from b10_store.manifests.problem import Damage
from b10_store.packs.health import present_packs
from b10_store.save.session import open_session

if TYPE_CHECKING:
    from collections.abc import Collection

    from b10_store.format.names import Address, PackId
    from b10_store.manifests.reader import Heads, ManifestReader
    from b10_store.remote.protocol import Remote
    from b10_store.save.session import Session


def sign_again(remote: Remote, reader: ManifestReader, scratch: str, address: Address) -> bool:
    """Publish the entries of an address again, unless the first key signed them already.

    Only the signature changes, and nothing is signed that none of the reader's keys signed.

    Args:
        remote: the store.
        reader: of manifests, with the keys of this host.
        scratch: a local folder for the manifest while it is built.
        address: what to sign.

    Returns:
        Whether there was anything to sign.

    Raises:
        CannotSignError: this host has public keys only.
        StoreError, OSError: nothing was published.
    """
    signer_of(reader.keys)
    heads = reader.heads(address)
    if not any(head.signed_before for head in heads.manifests):
        return False
    newest = max(head.name.snapshot for head in heads.read)
    session = open_session(remote, address, newest)
    try:
        # The entries to carry on are read after the token was created (I4), as in a save.
        heads = reader.heads(address)
        if any(head.signed_before for head in heads.manifests):
            _publish(session, reader, scratch, heads, present_packs(remote))
            return True
    except BaseException:
        session.abandon()
        raise
    session.abandon()
    return False


def _publish(
    session: Session,
    reader: ManifestReader,
    scratch: str,
    heads: Heads,
    present: Collection[PackId],
) -> None:
    for problem in heads.problems:
        if problem.damage is Damage.UNREADABLE:
            raise StoreError(f"{problem.name} cannot be read: {problem.reason}")
    stored = with_good_packs(merge(heads.manifests), heads.manifests, present)
    manifest = Manifest(
        session.name,
        lineage_like_newest(heads, heads.manifests, reader.keys),
        referenced_packs(stored.entries.values(), stored.packs),
        stored.entries,
    )
    session.publish([encode_manifest(manifest, scratch, signer_of(reader.keys))])
