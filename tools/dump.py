"""Print files of a store as text: FORMAT, packs, manifests and sessions.

The files may lie anywhere and have any name: what they are is read from their bytes. Nothing is
ever changed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from b10_store.digest import digest_of
from b10_store.errors import CorruptError, StoreError
from b10_store.format.manifest_file import decode_header, decode_manifest
from b10_store.format.names import (
    Address,
    SnapshotName,
    check_format_line,
    parse_manifest_name,
    parse_pack_name,
    parse_session_name,
    parse_snapshot_id,
    snapshot_milliseconds,
)
from b10_store.format.pack_footer import read_footer
from b10_store.format.seal import MAGIC, PREFIX_SIZE, open_header, open_prefix
from b10_store.remote.folder import FolderRemote
from b10_transfer.errors import CacheError
from b10_transfer.keys import parse_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from b10_store.format.keys import Key
    from b10_store.format.manifest import Entry, Lineage, Manifest
    from b10_store.format.seal import Prefix

_FORMAT_SIZE = 1 << 10
_MARK = b"b10-transfer session"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: of the command line, by default this process'.

    Returns:
        The exit status: 0, or 1 when a file could not be printed.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a file of a store")
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="KEY",
        help="verify the seals with the keys in this file",
    )
    options = parser.parse_args(arguments)
    keys: tuple[Key, ...] = ()
    if options.key_file is not None:
        try:
            keys = parse_keys(str(options.key_file), options.key_file.read_text())
        except (OSError, ValueError, CacheError) as error:
            parser.error(f"{options.key_file}: {error}")
    return max([_print_file(path, keys) for path in options.files])


def _print_file(path: Path, keys: tuple[Key, ...]) -> int:
    try:
        for line in _describe(path, keys):
            print(line)
    except BrokenPipeError:
        raise
    except (StoreError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        print(f"{path}: {reason}", file=sys.stderr)
        return 1
    return 0


def _describe(path: Path, keys: tuple[Key, ...]) -> Iterator[str]:
    with path.open("rb") as file:
        start = file.read(_FORMAT_SIZE)
    if start.startswith(MAGIC):
        yield from _describe_manifest(path, keys)
    elif path.name == "FORMAT":
        intact = "intact" if check_format_line(start) else "damaged"
        yield f"{path}: format line, {intact}"
        yield f"  {start.decode('ascii', 'replace').rstrip()}"
    elif parse_session_name(path.name) is not None and (not start or start.startswith(_MARK)):
        yield f"{path}: session that has not written its manifest yet"
        yield f"  {start.decode('ascii', 'replace').rstrip()}"
    elif parse_manifest_name(path.name) is not None or parse_session_name(path.name) is not None:
        raise CorruptError("not a sealed file")
    else:
        yield from _describe_pack(path)


def _describe_pack(path: Path) -> Iterator[str]:
    frames, blobs = read_footer(FolderRemote(str(path.absolute().parent)), path.name)
    found = digest_of(path.read_bytes())
    named = parse_pack_name(path.name)
    yield f"{path}: pack, {path.stat().st_size} bytes"
    yield f"  id      {found}{_mismatch(named, found)}"
    yield f"  frames  {len(frames.sizes)}, {frames.raw_size} raw bytes"
    for index, (stored, raw) in enumerate(frames.sizes):
        yield (
            f"    {index:5}  at {frames.stored_start(index):9}  {stored:8} bytes"
            f"  raw at {frames.raw_start(index):10}  {raw:8} bytes"
        )
    yield f"  blobs   {len(blobs)}"
    for digest, (offset, size) in blobs.items():
        yield f"    {digest}  raw at {offset:10}  {size:10} bytes"


def _describe_manifest(path: Path, keys: tuple[Key, ...]) -> Iterator[str]:
    data = path.read_bytes()
    prefix = open_prefix(data, keys)
    name = _name_in(open_header(prefix, data))
    _, header = decode_header(data, name, keys)
    with tempfile.TemporaryDirectory(prefix="b10-dump-") as scratch:
        manifest = decode_manifest(data, name, scratch, keys)
    kind = "session with a manifest, not published yet" if _is_session(path) else "manifest"
    called = parse_manifest_name(path.name) or parse_session_name(path.name)
    yield f"{path}: {kind}"
    yield f"  name         {name}{_mismatch(called, name)}"
    yield f"  began        {_time_of(name)}"
    yield f"  seal         {_seal(prefix, verified=bool(keys))}"
    yield (
        f"  bytes        {prefix.header_length} header, {prefix.body_length} body, "
        f"{header.raw_length} unpacked"
    )
    yield from _describe_lineage(manifest.lineage)
    summary = header.summary
    yield (
        f"  summary      {summary.artifacts} artifacts, {summary.raw_bytes} raw bytes, "
        f"{summary.stored_bytes} stored bytes, {summary.packs} packs"
    )
    yield from _describe_content(manifest)


def _describe_lineage(lineage: Lineage) -> Iterator[str]:
    for title, snapshots in (("parent", lineage.parents), ("ancestor", lineage.ancestors)):
        for snapshot in snapshots:
            yield f"  {title:11}  {snapshot}"
    for title, pairs in (("environment", lineage.environment), ("recorded", lineage.recorded)):
        for key, value in pairs:
            yield f"  {title:11}  {key} = {value}"


def _describe_content(manifest: Manifest) -> Iterator[str]:
    rows = {pack: row for row, pack in enumerate(sorted(manifest.packs))}
    yield f"  packs        {len(rows)}"
    for pack, row in rows.items():
        known = manifest.packs[pack]
        yield (
            f"    {row:3}  {pack}  {known.size:10} bytes  {len(known.frames.sizes):5} frames"
            f"  {known.frames.raw_size:10} raw bytes"
        )
    yield f"  artifacts    {len(manifest.entries)}"
    for identity in sorted(manifest.entries):
        entry = manifest.entries[identity]
        row = rows[entry.location.pack]
        yield (
            f"    {entry.digest}  {entry.size:10} bytes  pack {row:3} at {entry.location.offset:10}"
            f"  {identity.root}: {identity.path}{_details(entry)}"
        )


def _details(entry: Entry) -> str:
    details = [f"saved {_utc(entry.saved_ms / 1000)}"]
    if entry.identity.requirement:
        details.append(f"requires {entry.identity.requirement}")
    if entry.executable:
        details.append("executable")
    if entry.mtime_ns is not None:
        details.append(f"mtime {entry.mtime_ns} ns")
    if entry.group is not None:
        details.append(f"of the group {entry.group.folder}")
    if entry.generation:
        details.append(f"generation {entry.generation}")
    return f"  ({', '.join(details)})"


def _name_in(header: bytes) -> SnapshotName:
    """The name that a manifest was written as."""
    try:
        fields = json.loads(header)
        address = Address(fields["environment_key"], fields["namespace"])
        return SnapshotName(address, parse_snapshot_id(fields["snapshot"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptError(f"its header cannot be read: {error!r}") from error


def _mismatch(called: object, found: object) -> str:
    return "" if called is None or called == found else "  THE FILE HAS ANOTHER NAME"


def _is_session(path: Path) -> bool:
    return parse_session_name(path.name) is not None


def _seal(prefix: Prefix, *, verified: bool) -> str:
    if not prefix.signed:
        return "digest"
    kind = "MAC" if prefix.size == PREFIX_SIZE else "signature"
    return f"{kind}, verified" if verified else f"{kind}, not verified: no key was given"


def _time_of(name: SnapshotName) -> str:
    return _utc(snapshot_milliseconds(name.snapshot) / 1000)


def _utc(seconds: float) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.3f} s after 1970"
    return moment.isoformat(timespec="milliseconds")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
    # Whoever reads the output has seen enough.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
