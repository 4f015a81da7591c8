"""Manifests whose header, or the length of whose body, is made to do harm."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from b10_store.digest import digest_of
from b10_store.format.names import snapshot_milliseconds
from b10_store.format.seal import seal
from tests.support.databases import build_database
from tests.support.forged_stores import Outcome, tables_of
from tests.support.zstd_frames import GIB, TIB, zstd_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.forged_stores import Case, Forge

_MIB = 1 << 20
_MANY = 100_000
_HEADER_LIMIT = 8 * _MIB
_EMPTY = build_database(tables_of([]))


def _json(text: bytes) -> Case:
    def plant(forge: Forge) -> Outcome:
        forge.plant_sealed(forge.name(), text, b"")
        return Outcome(megabytes=400)

    return plant


def _padded(item: bytes) -> bytes:
    """A header of the greatest length: one list of many small things."""
    return b"[" + item * ((_HEADER_LIMIT - 3) // len(item) - 1) + item.rstrip(b",") + b"]"


def _field(**fields: object) -> Case:
    def plant(forge: Forge) -> Outcome:
        forge.plant(_EMPTY, fields)
        return Outcome()

    return plant


def _harmless(**fields: object) -> Case:
    def plant(forge: Forge) -> Outcome:
        forge.plant(_EMPTY, fields)
        return Outcome(refused=False)

    return plant


def _body(body: bytes, raw_length: int, megabytes: int = 100) -> Case:
    def plant(forge: Forge) -> Outcome:
        header = {**forge.header(forge.name()), "raw_length": raw_length}
        forge.plant_sealed(forge.name(), json.dumps(header).encode(), body)
        return Outcome(megabytes=megabytes)

    return plant


def _long_header(forge: Forge) -> Outcome:
    """One byte more than is read, and its digests are right."""
    header = json.dumps(forge.header(forge.name())).encode()
    forge.plant_sealed(forge.name(), header.ljust(_HEADER_LIMIT + 1), b"")
    return Outcome()


def _declared(header_length: int, body_length: int) -> Case:
    def plant(forge: Forge) -> Outcome:
        digest = bytes(32)
        fields = b"B10SEAL1" + header_length.to_bytes(4, "little") + bytes(4)
        fields += body_length.to_bytes(8, "little") + digest + digest
        sealed = seal(b"", b"")
        assert len(fields) == len(sealed) - 32
        mark = bytes.fromhex(digest_of(fields))
        forge.write(forge.name().manifest_path, fields + mark + b"short")
        return Outcome()

    return plant


def _huge_file(forge: Forge) -> Outcome:
    """A file of a terabyte that takes no room."""
    with (forge.store / forge.name().manifest_path).open("wb") as file:
        file.truncate(TIB)
    return Outcome(megabytes=700)


def _many_parents(forge: Forge) -> Outcome:
    time = snapshot_milliseconds(forge.name().snapshot)
    parents = [f"{time:013d}-{number:032x}" for number in range(_MANY)]
    forge.plant(_EMPTY, {"parents": parents, "ancestors": parents[: _MANY // 2]})
    return Outcome(refused=False)


def _own_parent(forge: Forge) -> Outcome:
    own = forge.name().snapshot
    forge.plant(_EMPTY, {"parents": [own], "ancestors": [own, own]})
    return Outcome(refused=False)


def _cycle(forge: Forge) -> Outcome:
    """A ring of manifests, each of which says that it carries on the next one, all but the good."""
    names = [forge.name(_MANY + number, number) for number in range(20)]
    for number, name in enumerate(names):
        following = names[(number + 1) % len(names)]
        forge.plant(_EMPTY, {"parents": [following.snapshot]}, later=_MANY + number, salt=number)
        assert name != following
    return Outcome(refused=False)


def _superseded_by_an_older_one(forge: Forge) -> Outcome:
    """A manifest of an earlier time cannot have carried on the good one."""
    forge.plant(_EMPTY, {"ancestors": [forge.good.name.snapshot]}, later=-1000)
    return Outcome(refused=False)


def _superseding_all(forge: Forge) -> Outcome:
    """It says that it carries on everything, of which it has nothing."""
    forge.plant(_EMPTY, {"ancestors": [forge.good.name.snapshot, forge.name(1).snapshot]})
    return Outcome(refused=False, displacing=True)


def _of_another_name(forge: Forge) -> Outcome:
    forge.plant(_EMPTY, {"snapshot": f"{0:013d}-{0:032x}"})
    return Outcome()


_DIGITS = "9" * 4000
_SUMMARY = {"artifacts": 1, "raw_bytes": 1, "stored_bytes": 1, "packs": 1}

CASES: Mapping[str, Case] = {
    "a header nested 100,000 deep": _json(b"[" * _MANY + b"]" * _MANY),
    "a header of objects nested 100,000 deep": _json(b'{"a":' * _MANY + b"1" + b"}" * _MANY),
    "8 MiB of brackets": _json(b"[" * _HEADER_LIMIT),
    "8 MiB of empty objects": _json(_padded(b"{},")),
    "8 MiB of numbers": _json(_padded(b"7,")),
    "a number of 8 million digits": _json(b"7" * _HEADER_LIMIT),
    "a header of a byte too many": _long_header,
    "a header of 4 GiB": _declared((1 << 32) - 1, 0),
    "a body of 16 EiB": _declared(10, (1 << 64) - 1),
    "a file of 1 TiB": _huge_file,
    "a body that declares 1 TiB": _body(zstd_frame(TIB, 1000), TIB),
    "a body that declares 1 TiB, and the header less": _body(zstd_frame(TIB, 1000), 1000),
    "32 KB that are 1 GiB": _body(zstd_frame(GIB, GIB), GIB),
    "32 KB that are 1 GiB, and the header says less": _body(zstd_frame(GIB, GIB), _MIB),
    "32 KB that are 1 GiB, and all say less": _body(zstd_frame(_MIB, GIB), _MIB),
    "32 KB that are 1 GiB, and nothing says so": _body(zstd_frame(None, GIB), _MIB),
    "8 KB that are as much as is unpacked": _body(
        zstd_frame(256 * _MIB, 256 * _MIB), 256 * _MIB, 600
    ),
    "a body that is shorter than it says": _body(zstd_frame(_MIB, 1000), _MIB),
    "a raw length below zero": _field(raw_length=-1),
    "a raw length without end": _field(raw_length=float("inf")),
    "a raw length that is a list": _field(raw_length=[1]),
    "100,000 parents": _many_parents,
    "its own parent": _own_parent,
    "a ring of parents": _cycle,
    "an older one that says it carries on the good one": _superseded_by_an_older_one,
    "one that says it carries on everything": _superseding_all,
    "a manifest of another name": _of_another_name,
    "a parent that is a path": _field(parents=["../../../etc/passwd"]),
    "a parent that is no text": _field(parents=[["x"]]),
    "an environment of another form": _field(environment={"a": 1}),
    "an environment that is no text of this world": _field(environment=[["torch", "\ud800"]]),
    "an environment that moves the cursor": _harmless(environment=[["torch\x1b[2J", "1\n2\x00"]]),
    "a summary of 4000 digits": _harmless(summary={**_SUMMARY, "stored_bytes": int(_DIGITS)}),
    "a summary below zero": _harmless(summary={**_SUMMARY, "stored_bytes": -1, "artifacts": -7}),
    "a summary that is not a number": _field(summary={**_SUMMARY, "packs": float("nan")}),
    "a summary of fields nobody knows": _field(summary={**_SUMMARY, "__class__": 1}),
}
