"""Make the golden files of format 1: a small store, and what is to be read from it.

They were made once, by the first release of the format, and every later release must read them: so
this refuses to replace them. A format 2 gets a script and golden files of its own.

Usage: python tests/formats/make_v1.py FOLDER
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from b10_store.digest import digest_of
from b10_store.format.keys import PrivateKey, SigningKey
from b10_store.format.manifest import Entry, Identity, Lineage, Manifest, Pack, summarize
from b10_store.format.manifest_file import encode_manifest
from b10_store.format.marker import write_format
from b10_store.format.names import (
    FORMAT_VERSION,
    FRAME_RAW_LIMIT,
    Address,
    PackId,
    SnapshotId,
    SnapshotName,
)
from b10_store.packs.writer import write_packs
from b10_store.remote.folder import FolderRemote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from b10_store.digest import Digest
    from b10_store.format.keys import Key
    from b10_store.format.manifest import Location

VERSION = 1
SECRET = b"the golden signing key of format 1"
ENVIRONMENT_KEY = "00112233445566778899aabbccddeeff"
PLAIN = Address(ENVIRONMENT_KEY)
SIGNED = Address(ENVIRONMENT_KEY, "golden-signed_1")
PRIVATE = bytes(range(32))
SIGNED_BY_PAIR = Address(ENVIRONMENT_KEY, "golden-pair")
_START_MS = 1_700_000_000_000
_NO_LIMIT = 1 << 30


class Artifact(NamedTuple):
    """One artifact of the golden store, by the bytes that are stored."""

    identity: Identity
    data: bytes
    executable: bool = False
    mtime_ns: int | None = None
    group_length: int = 0
    generation: int = 0


class Blob(NamedTuple):
    """A blob in memory, an `Upload`."""

    digest: Digest
    size: int
    data: bytes

    def read(self) -> Iterator[bytes]:
        """See `Upload.read`."""
        for start in range(0, self.size, FRAME_RAW_LIMIT):
            yield self.data[start : start + FRAME_RAW_LIMIT]


KERNEL = "triton/0/KERNELHASH"
GRAPHS = "fxgraph/gg/graphkey"
CANONICAL_GROUP = (
    b'{"child_paths": {"add.cubin": "[b10-transfer:folder]/add.cubin", '
    b'"add.json": "[b10-transfer:folder]/add.json"}}'
)

SOURCE = Artifact(Identity("inductor", "ab/cabc.py"), b"import torch\n# a kernel\n" * 20)
LIBRARY = Artifact(
    Identity("inductor", "ab/cabc.so", "avx512,glibc 2.36"),
    b"\x7fELF\x02\x01\x01" + bytes(57),
    executable=True,
)
EMPTY = Artifact(Identity("inductor", "ab/empty.gch"), b"")
TIMED = Artifact(
    Identity("flashinfer", "cached_ops/op/build.ninja"),
    b"rule compile\n",
    mtime_ns=1_699_999_999_123_456_789,
)
ODD_NAME = Artifact(Identity("inductor", "\u00fcml\u00e4ut/with space"), b"odd\n")
SPANNING = Artifact(Identity("inductor", "zz/big.bin"), bytes(FRAME_RAW_LIMIT + 100))
CUBIN = Artifact(Identity("triton", f"{KERNEL}/add.cubin"), b"\x7fELF cubin " * 3)
METADATA = Artifact(Identity("triton", f"{KERNEL}/add.json"), b'{"num_warps": 4}')
GROUP = Artifact(Identity("triton", f"{KERNEL}/__grp__add.json"), CANONICAL_GROUP)
GRAPH_1 = Artifact(
    Identity("inductor", f"{GRAPHS}/variant1"), b"graph variant 1", group_length=len(GRAPHS)
)
GRAPH_2 = Artifact(
    Identity("inductor", f"{GRAPHS}/variant2"), b"graph variant 2", group_length=len(GRAPHS)
)
REPLACED = Artifact(Identity("inductor", "ab/cabc.py"), b"import torch\n# better\n", generation=1)

FIRST_PACK = (SOURCE, LIBRARY, EMPTY, TIMED, ODD_NAME, SPANNING)
SECOND_PACK = (CUBIN, METADATA, GROUP, GRAPH_1, GRAPH_2, REPLACED)


def make(folder: Path) -> dict[str, Any]:
    """Write the golden store into `folder` and return what is to be read from it."""
    remote = FolderRemote(str(folder))
    write_format(remote)
    packs: dict[PackId, Pack] = {}
    places: dict[Digest, Location] = {}
    for artifacts in (FIRST_PACK, SECOND_PACK):
        blobs = [Blob(digest_of(item.data), len(item.data), item.data) for item in artifacts]
        written = write_packs(remote, blobs, workers=1, limit=_NO_LIMIT)
        packs.update(written.packs)
        places.update(written.locations)
    expected: list[dict[str, Any]] = []
    for manifest, key in _manifests(packs, places):
        with tempfile.TemporaryDirectory() as scratch:
            data = encode_manifest(manifest, scratch, key)
        target, _, name = manifest.name.manifest_path.partition("/")
        remote.create(target, name, [data])
        expected.append(_as_json(manifest, signed=key is not None))
    token = SnapshotName(PLAIN, _snapshot(4))
    remote.open_token(token.session_path).close()
    return {"packs": _packs_as_json(packs), "manifests": expected}


def _manifests(
    packs: dict[PackId, Pack], places: dict[Digest, Location]
) -> Iterator[tuple[Manifest, Key | None]]:
    """A manifest, two that know it and not each other, and a signed one of a namespace."""

    def manifest(
        number: int, address: Address, artifacts: tuple[Artifact, ...], lineage: Lineage
    ) -> Manifest:
        entries = [_entry(item, places[digest_of(item.data)], number) for item in artifacts]
        used = {entry.location.pack for entry in entries}
        return Manifest(
            SnapshotName(address, _snapshot(number)),
            lineage,
            {pack: known for pack, known in packs.items() if pack in used},
            {entry.identity: entry for entry in entries},
        )

    environment = (("torch", "2.9.0+cu128"), ("gpu", "NVIDIA H200"))
    recorded = (("threads", "8"),)
    kernel = (CUBIN, METADATA, GROUP)
    root = Lineage((), (), environment, recorded)
    child = dataclasses.replace(root, parents=(_snapshot(1),), ancestors=(_snapshot(0),))
    yield manifest(1, PLAIN, FIRST_PACK, root), None
    yield manifest(2, PLAIN, (*FIRST_PACK, *kernel, GRAPH_1), child), None
    yield manifest(3, PLAIN, (*FIRST_PACK[1:], REPLACED, GRAPH_1, GRAPH_2), child), None
    yield manifest(5, SIGNED, (SOURCE, *kernel), root), SigningKey(SECRET)
    yield manifest(6, SIGNED_BY_PAIR, (SOURCE, EMPTY), root), PrivateKey(PRIVATE)


def _entry(artifact: Artifact, place: Location, number: int) -> Entry:
    return Entry(
        identity=artifact.identity,
        digest=digest_of(artifact.data),
        size=len(artifact.data),
        executable=artifact.executable,
        mtime_ns=artifact.mtime_ns,
        group_length=artifact.group_length,
        generation=artifact.generation,
        saved_ms=_START_MS + 60_000 * (1 if artifact in FIRST_PACK else number),
        location=place,
    )


def _snapshot(number: int) -> SnapshotId:
    return SnapshotId(f"{_START_MS + 60_000 * number}-{number:032x}")


def _packs_as_json(packs: dict[PackId, Pack]) -> dict[str, Any]:
    return {
        pack: [known.size, [list(size) for size in known.frames.sizes]]
        for pack, known in packs.items()
    }


def _as_json(manifest: Manifest, *, signed: bool) -> dict[str, Any]:
    return {
        "name": str(manifest.name),
        "signed": signed,
        "lineage": dataclasses.asdict(manifest.lineage),
        "summary": dataclasses.asdict(summarize(manifest)),
        "packs": sorted(manifest.packs),
        "entries": [
            {
                **entry._asdict(),
                "identity": list(entry.identity),
                "location": list(entry.location),
            }
            for _, entry in sorted(manifest.entries.items())
        ],
    }


def _main(folder: Path) -> None:
    if FORMAT_VERSION != VERSION:
        sys.exit(f"this release writes format {FORMAT_VERSION}: it cannot make files of {VERSION}")
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"{folder} is not empty: golden files are made once")
    expected = make(folder / "store")
    text = json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=True)
    (folder / "expected.json").write_text(text + "\n", encoding="ascii")
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    sys.stdout.write(f"{total} bytes in {folder}\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    _main(Path(sys.argv[1]))
