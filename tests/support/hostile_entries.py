"""Manifests, under right digests, whose entries are made to do harm, and packs that lie."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from b10_store.digest import Digest, digest_of
from b10_store.format.frame import compress_frame
from b10_store.format.pack_footer import Piece
from tests.support.databases import build_database
from tests.support.forged_stores import Outcome, absent_pack, entry_row, tables_of
from tests.support.trees import Artifact
from tests.support.zstd_frames import GIB, MIB, TIB, zstd_frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.forged_stores import Case, Forge

_CONTENT = b"harmless"
_BIGGEST = (1 << 64) - 1
_LONG_AGO = -(1 << 63)
_OVERLAPPING = 20_000
_SHARED = 64 << 10

_ESCAPES = (
    *("../escaped", "../../escaped", "ab/../../escaped", "ab/..", "..", ".", "", "/", "//escaped"),
    *("/etc/passwd", "/tmp/escaped", "ab//c", "ab/", "./ab", "ab/./c"),  # noqa: S108  # not used
    *("ab\\..\\..\\escaped", "\\\\server\\share", "C:\\escaped", "ab\0.py", "\0"),
    *(".b10_transfer", ".b10_transfer/loaded", ".B10_transfer/lock", ".b10_transfer/../../escaped"),
    *("x" * 256, "\u20ac" * 86, "d/" * 2100 + "x", "d/" * 1000 + "x"),
)
_ODD = (
    *("C:", "C:odd", "C:/odd.py", "CON", "nul.py", "aux/COM1", "ab/odd.", "ab/odd ", " /odd"),
    *("~/odd", "$HOME/odd", "-rf", "ab/*", "ab/new\nline", "ab/\x1b[2J", "ab/\u202eyp.odd"),
    *("%2e%2e/odd", "\uff0e\uff0e/odd", "\u2025/odd", "ab/e\u0301"),
    *("x" * 255, "d/" * 127 + "x"),
)


def _content_pack(forge: Forge, *contents: bytes) -> tuple[list[Piece], bytes, bytes]:
    raw = b"".join(contents)
    pieces: list[Piece] = []
    for content in contents:
        offset = sum(piece.size for piece in pieces)
        pieces.append(Piece(digest_of(content), offset, len(content)))
    pack = forge.plant_pack([(compress_frame(raw), len(raw))], pieces)
    return pieces, pack.row, pack.table


def _refused_path(path: str | bytes) -> Case:
    def plant(forge: Forge) -> Outcome:
        raw = _CONTENT
        pack = forge.plant_pack([(compress_frame(raw), len(raw))])
        forge.plant_rows([entry_row("forged/before.py", raw), entry_row(path, raw)], pack)
        return Outcome()

    return plant


def _entry(
    path: str,
    *,
    loaded: bool = True,
    root: str = "inductor",
    flags: int = 0,
    mtime_ns: int = 0,
    saved_ms: int = 0,
    generation: int = 0,
) -> Case:
    """An entry of which the bytes are as its digest says."""

    def plant(forge: Forge) -> Outcome:
        pack = forge.plant_pack([(compress_frame(_CONTENT), len(_CONTENT))])
        row = entry_row(
            path,
            _CONTENT,
            root=root,
            flags=flags,
            mtime_ns=mtime_ns,
            saved_ms=saved_ms,
            generation=generation,
        )
        forge.plant_rows([row], pack)
        extra = {f"{root}/{path}": Artifact(_CONTENT, bool(flags & 1))}
        return Outcome(refused=False, extra=extra if loaded else {})

    return plant


def _lying(
    *rows: bytes, sizes: Sequence[tuple[int, int]] = ((10, 10),), megabytes: int = 100
) -> Case:
    """Entries of a pack that is not there."""

    def plant(forge: Forge) -> Outcome:
        forge.plant_rows(rows, absent_pack(sizes))
        return Outcome(megabytes=megabytes)

    return plant


def _clash(forge: Forge) -> Outcome:
    """Files and folders of one name: which of them come is open, and no bytes are mixed up."""
    pack = forge.plant_pack([(compress_frame(_CONTENT), len(_CONTENT))])
    good = [identity.path for identity in forge.good.entries if identity.root == "inductor"]
    paths = [*(f"{path}/below" for path in good), good[0].partition("/")[0]]
    forge.plant_rows([entry_row(path, _CONTENT) for path in [*paths, *good]], pack)
    return Outcome(any_of=tuple(f"inductor/{path}" for path in paths), displacing=True)


def _displaced(later: int, generation: int) -> Case:
    """The good paths, with bytes that nobody has."""

    def plant(forge: Forge) -> Outcome:
        rows = [
            entry_row(identity.path, b"nowhere", size=5, root=identity.root, generation=generation)
            for identity in forge.good.entries
        ]
        pack = absent_pack([(10, 10)])
        forge.plant(build_database(tables_of(rows, pack)), later=later)
        return Outcome(displacing=True)

    return plant


def _clash_of_its_own(forge: Forge) -> Outcome:
    pack = forge.plant_pack([(compress_frame(_CONTENT), len(_CONTENT))])
    paths = ["forged", "forged/a", "forged/a/b"]
    forge.plant_rows([entry_row(path, _CONTENT) for path in paths], pack)
    return Outcome(any_of=tuple(f"inductor/{path}" for path in paths))


def _twice(forge: Forge) -> Outcome:
    """Of two rows of one artifact the last counts, for every reader."""
    pieces, row, table = _content_pack(forge, b"first", _CONTENT)
    tables = tables_of(
        [
            entry_row("forged/x.py", b"first", offset=pieces[0].offset),
            entry_row("forged/x.py", _CONTENT, offset=pieces[1].offset),
        ]
    )
    tables |= {"packs": {bytes(8): row}, "frames": {bytes(8): table}}
    forge.plant(build_database(tables))
    return Outcome(refused=False, extra={"inductor/forged/x.py": Artifact(_CONTENT)})


def _one_digest_of_many_sizes(forge: Forge) -> Outcome:
    """What is written is what was verified, whatever size another entry names."""
    pack = forge.plant_pack([(compress_frame(_CONTENT), len(_CONTENT))])
    sizes = (0, 1, len(_CONTENT))
    rows = [entry_row(f"forged/{size}", size=size, digest=digest_of(_CONTENT)) for size in sizes]
    forge.plant_rows(rows, pack)
    return Outcome(any_of=tuple(f"inductor/forged/{size}" for size in sizes), refused=False)


def _in_one_place(forge: Forge) -> Outcome:
    """Blobs that all lie in the same place: none of them is there."""
    pack = forge.plant_pack([(compress_frame(bytes(MIB)), MIB)])
    rows = [
        entry_row(f"forged/{at}", size=_SHARED, digest=f"{at:064x}") for at in range(_OVERLAPPING)
    ]
    forge.plant_rows(rows, pack)
    # Most of what is stored cannot be had.
    return Outcome(megabytes=500, again=("ERROR",))


def _frame(stored: bytes, raw_size: int, *, megabytes: int = 100) -> Case:
    """A pack of one frame that is not what it says."""

    def plant(forge: Forge) -> Outcome:
        size = min(raw_size, MIB)
        pack = forge.plant_pack([(stored, size)], table=[(len(stored), size)])
        rows = [entry_row("forged/x.py", size=size, digest=digest_of(bytes(size)))]
        forge.plant_rows(rows, pack)
        return Outcome(megabytes=megabytes)

    return plant


def _changed_bytes(forge: Forge) -> Outcome:
    """A whole, valid pack, only that a blob in it is not of its digest."""
    raw = b"evil" * 100
    good = digest_of(_CONTENT)
    pack = forge.plant_pack([(compress_frame(raw), len(raw))], [Piece(good, 0, len(raw))])
    forge.plant_rows([entry_row("forged/x.py", digest=good, size=len(raw))], pack)
    return Outcome()


def _changed_bytes_across_frames(forge: Forge) -> Outcome:
    raw = b"evil" * (MIB // 4)
    frame = compress_frame(raw)
    pack = forge.plant_pack([(frame, MIB)] * 3)
    forge.plant_rows([entry_row("forged/x.bin", digest=Digest("11" * 32), size=3 * MIB)], pack)
    return Outcome()


def _sparse_pack(forge: Forge) -> Outcome:
    """Frames of nothing, far more than any network would carry in this time."""
    count = 256
    pack = forge.plant_pack([], table=[(MIB, MIB)] * count)
    name = max((forge.store / "packs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    with name.open("r+b") as file:
        file.truncate(count * MIB)
    rows = [
        entry_row(f"forged/{at}", size=1, digest=f"{at:064x}", offset=at * MIB)
        for at in range(count)
    ]
    forge.plant_rows(rows, pack)
    # Most of what is stored cannot be had.
    return Outcome(again=("ERROR",))


CASES: Mapping[str, Case] = {
    **{f"path {path[:40]!r} of {len(path)}": _refused_path(path) for path in _ESCAPES},
    "a path that is no text": _refused_path(b"\xff\xfe"),
    "a path that is half a character": _refused_path(b"\xed\xa0\x80"),
    **{f"odd path {path[:40]!r} of {len(path)}": _entry(path) for path in _ODD},
    **{
        f"root {root!r}": _entry("forged/x.py", root=root, loaded=False)
        for root in ("nobody", "..", "/", "", "../inductor", "inductor/", "INDUCTOR", "inductor\0")
    },
    **{
        f"left out {path!r}": _entry(path, loaded=False)
        for path in ("..a/odd", "ab/...", "ab/.odd", "ab/odd.lock", "ab/odd.tmp")
    },
    "another root's": _entry("forged/x.py", root="triton", loaded=False),
    "all flags": _entry("forged/x.py", flags=0xFF),
    "the time of the flood": _entry("forged/x.py", flags=2, mtime_ns=_LONG_AGO),
    "the end of time": _entry("forged/x.py", flags=2, mtime_ns=-_LONG_AGO - 1),
    "saved at the end of time": _entry("forged/x.py", saved_ms=_BIGGEST),
    "superseded four billion times": _entry("forged/x.py", generation=(1 << 32) - 1),
    "a group that is not in the path": _lying(entry_row("forged/x.py", size=1, group_length=3)),
    "a size of 2^64": _lying(entry_row("forged/x.py", size=_BIGGEST)),
    "sizes of 2^63 in all": _lying(
        entry_row("forged/x", size=1 << 62), entry_row("forged/y", size=1 << 62)
    ),
    "an offset of 2^64": _lying(entry_row("forged/x.py", size=1, offset=_BIGGEST)),
    "a size and an offset that wrap around": _lying(
        entry_row("forged/x", size=11, offset=_BIGGEST - 9)
    ),
    "a byte behind the pack": _lying(entry_row("forged/x.py", size=2, offset=9)),
    "a pack that is not listed": _lying(entry_row("forged/x.py", size=1, pack=7)),
    "a pack that is not there": _lying(entry_row("forged/x.py", bytes(10))),
    "frames that are empty": _lying(entry_row("forged/x.py"), sizes=[(0, 0)]),
    "frames of 4 GiB": _lying(entry_row("forged/x.py"), sizes=[((1 << 32) - 1, (1 << 32) - 1)]),
    "files in the place of folders, and folders in that of files": _clash,
    "the good paths, and older": _displaced(-1000, 0),
    "the good paths, superseded": _displaced(1000, 7),
    "a file, and a folder of its name": _clash_of_its_own,
    "an artifact twice": _twice,
    "a digest with several sizes": _one_digest_of_many_sizes,
    "20,000 blobs in one place": _in_one_place,
    "a frame that declares 1 TiB": _frame(zstd_frame(TIB, 1000), 1000),
    "a frame that is 1 GiB": _frame(zstd_frame(GIB, GIB), MIB),
    "a frame that is 1 GiB and says 1 MiB": _frame(zstd_frame(MIB, GIB), MIB),
    "a frame that is 1 GiB and does not say so": _frame(zstd_frame(None, GIB), MIB),
    "a frame that is shorter than it says": _frame(zstd_frame(MIB, 1000), MIB),
    "a frame that is none": _frame(struct.pack("<I", 0) * 20, 1000),
    "other bytes in a valid pack": _changed_bytes,
    "other bytes in a blob of several frames": _changed_bytes_across_frames,
    "a pack of holes": _sparse_pack,
}
