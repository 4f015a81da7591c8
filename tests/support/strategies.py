"""Hypothesis strategies for the engine's values."""

from __future__ import annotations

from hypothesis import strategies as st

from b10_store.digest import Digest
from b10_store.format.frame import FrameTable
from b10_store.format.manifest import Entry, Identity, Lineage, Location, Manifest, Pack
from b10_store.format.names import Address, PackId, SnapshotId, SnapshotName

_HEX = "0123456789abcdef"
_MIB = 1 << 20

DIGESTS = st.binary(min_size=32, max_size=32).map(lambda raw: Digest(raw.hex()))
PACK_IDS = DIGESTS.map(PackId)
SNAPSHOTS = st.tuples(st.integers(0, 9_999_999_999_999), st.binary(min_size=16, max_size=16)).map(
    lambda drawn: SnapshotId(f"{drawn[0]:013d}-{drawn[1].hex()}")
)
NAMESPACES = st.text(alphabet="abcxyz0123456789_-", max_size=64)
ADDRESSES = st.builds(Address, st.text(alphabet=_HEX, min_size=32, max_size=32), NAMESPACES)
FRAME_TABLES = st.lists(
    st.tuples(st.integers(1, _MIB), st.integers(1, _MIB)), min_size=1, max_size=12
).map(lambda sizes: FrameTable(tuple(sizes)))

# Paths of any characters that a path may have, and the plain ones of real caches.
_LETTERS = st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"])
_PLAIN_COMPONENTS = st.text(alphabet="abcdef0123456789_.-=+@", min_size=1, max_size=40)
_COMPONENTS = st.one_of(_PLAIN_COMPONENTS, st.text(alphabet=_LETTERS, min_size=1, max_size=80))


def _is_component(text: str) -> bool:
    return text not in (".", "..") and len(text.encode()) <= 255


@st.composite
def legal_paths(draw: st.DrawFn) -> str:
    """A path that an artifact may have; now and then one of nearly the greatest length."""
    if draw(st.integers(0, 30)) == 30:
        return "/".join([draw(_PLAIN_COMPONENTS.filter(_is_component)), *["\u20ac" * 84] * 15])
    components = draw(st.lists(_COMPONENTS.filter(_is_component), min_size=1, max_size=6))
    if components[0].casefold() == ".b10_transfer":
        components[0] = "b10_transfer"
    return "/".join(components)


@st.composite
def entries(draw: st.DrawFn, packs: dict[PackId, Pack]) -> Entry:
    """An entry that lies in one of the packs."""
    pack = draw(st.sampled_from(sorted(packs)))
    raw_size = packs[pack].frames.raw_size
    offset = draw(st.integers(0, raw_size))
    path = draw(legal_paths())
    folders = [index for index, letter in enumerate(path) if letter == "/"]
    return Entry(
        identity=Identity(
            draw(st.sampled_from(["inductor", "triton", "r\u00f6\u00f6t"])),
            path,
            draw(st.one_of(st.just(""), st.text(alphabet=_LETTERS, max_size=60))),
        ),
        digest=draw(DIGESTS),
        size=draw(st.integers(0, raw_size - offset)),
        executable=draw(st.booleans()),
        mtime_ns=draw(st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1))),
        group_length=draw(st.sampled_from([0, *folders])),
        generation=draw(st.integers(0, (1 << 32) - 1)),
        saved_ms=draw(st.integers(0, 9_999_999_999_999)),
        location=Location(pack, offset),
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """A consistent manifest of any content."""
    packs = {
        pack: Pack(frames.stored_start(len(frames.sizes)) + draw(st.integers(60, 1 << 20)), frames)
        for pack, frames in draw(
            st.dictionaries(PACK_IDS, FRAME_TABLES, min_size=1, max_size=4)
        ).items()
    }
    listed = draw(st.lists(entries(packs), max_size=12))
    texts = st.text(alphabet=_LETTERS, max_size=30)
    return Manifest(
        SnapshotName(draw(ADDRESSES), draw(SNAPSHOTS)),
        Lineage(
            tuple(draw(st.lists(SNAPSHOTS, max_size=4))),
            tuple(draw(st.lists(SNAPSHOTS, max_size=4))),
            tuple(draw(st.lists(st.tuples(texts, texts), max_size=4))),
            tuple(draw(st.lists(st.tuples(texts, texts), max_size=4))),
        ),
        packs,
        {entry.identity: entry for entry in listed},
    )
