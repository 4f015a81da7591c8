"""Read manifests by their first bytes, quickly and without their databases."""

from __future__ import annotations

import enum
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from b10_store.errors import UNUSABLE, CorruptError, StoreError
from b10_store.format.manifest_file import decode_header, decode_pack_sizes
from b10_store.format.names import parse_manifest_name
from b10_store.format.seal import open_prefix
from b10_store.format.sealed_file import read_sealed
from b10_store.manifests.merge import superseded_by
from b10_store.manifests.problem import Damage, Problem, problem_of
from b10_store.remote.folder_names import MANIFESTS, TEMPORARY_MARK
from b10_store.remote.protocol import read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store.format.keys import Key
    from b10_store.format.manifest_file import Header
    from b10_store.format.names import Address, PackId, SnapshotName
    from b10_store.remote.protocol import Remote

_HEADER_GUESS = 1 << 16
"""How many bytes are read at first; nearly every header fits."""
_PARALLEL = 16
_PARALLEL_TABLES = 4
"""Few manifests are read at once, since planted ones may claim 256 MiB each."""


class Seal(enum.Enum):
    """The meaning of a manifest's seal to this host."""

    PLAIN = "not signed"
    SIGNED = "signed"
    OLDER = "signed with an older key"
    FOREIGN = "signed with another key, or changed since"


class ListedHead(NamedTuple):
    """A manifest that no other one supersedes, by its header.

    Attributes:
        header: its header.
        used_at: when its file was last changed or touched, in seconds since the epoch.
    """

    header: Header
    used_at: float


class HeadListing(NamedTuple):
    """The heads of every address.

    Attributes:
        heads: the heads that could be read.
        problems: the manifest files that could not be used.
    """

    heads: tuple[ListedHead, ...]
    problems: tuple[Problem, ...]


def read_header(remote: Remote, name: SnapshotName, keys: tuple[Key, ...]) -> Header:
    """Read and verify the header of one manifest, without its body.

    Args:
        remote: the store.
        name: the manifest's name.
        keys: if any are given, one of them must have sealed it.

    Raises:
        CorruptError, LimitError, UnsupportedFormatError: it cannot be used.
        OSError: it cannot be read.
    """
    return decode_header(_read_start(remote, name, keys), name, keys)[1]


def judge_header(remote: Remote, name: SnapshotName, keys: tuple[Key, ...]) -> tuple[Header, Seal]:
    """Read the header of one manifest, whoever sealed it, and judge its seal.

    Raises:
        CorruptError, LimitError, UnsupportedFormatError: it cannot be used by anybody.
        OSError: it cannot be read.
    """
    # Read without keys, to distinguish another signature from damage.
    data = _read_start(remote, name, ())
    _, header = decode_header(data, name)
    return header, _seal_of(data, keys) if header.signed else Seal.PLAIN


def list_heads(remote: Remote, keys: tuple[Key, ...]) -> HeadListing:
    """Read the headers of the heads of every address: normally one file each.

    Raises:
        OSError: the manifests cannot be listed.
    """
    by_address: defaultdict[Address, list[SnapshotName]] = defaultdict(list)
    problems: list[Problem] = []
    for file in sorted(remote.list(MANIFESTS)):
        name = parse_manifest_name(file)
        if name is not None:
            by_address[name.address].append(name)
        elif TEMPORARY_MARK not in file:
            problems.append(
                Problem(
                    f"{MANIFESTS}/{file}", Damage.DAMAGED, "does not have the name of a manifest"
                )
            )
    heads: list[ListedHead] = []
    with ThreadPoolExecutor(_PARALLEL, "b10-headers") as pool:
        read = pool.map(partial(_heads_among, remote, keys), by_address.values())
        for found, wrong in read:
            heads += found
            problems += wrong
    return HeadListing(tuple(heads), tuple(problems))


def read_pack_sizes(
    remote: Remote,
    scratch: str,
    keys: tuple[Key, ...],
    names: Iterable[SnapshotName],
    seconds: float,
) -> Mapping[SnapshotName, Mapping[PackId, int] | Problem]:
    """Read which packs manifests reference, with their sizes in bytes, as time permits.

    Args:
        remote: the store.
        scratch: a local folder for databases while they are read.
        keys: see `read_header`.
        names: the manifests' names.
        seconds: the time limit; manifests that are not read by then are left out.

    Returns:
        The packs of each manifest, or why a load could not use it.
    """
    found: dict[SnapshotName, Mapping[PackId, int] | Problem] = {}

    def read(name: SnapshotName) -> dict[PackId, int]:
        return decode_pack_sizes(read_sealed(remote, name.manifest_path, keys), name, scratch, keys)

    pool = ThreadPoolExecutor(_PARALLEL_TABLES, "b10-tables")
    try:
        futures = {name: pool.submit(read, name) for name in names}
        wait(futures.values(), timeout=seconds)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    for name, future in futures.items():
        if future.done() and not future.cancelled():
            try:
                found[name] = future.result()
            except UNUSABLE as error:
                found[name] = problem_of(name.manifest_path, error)
            except (StoreError, OSError):
                continue  # the scratch folder, or a file that is superseded by now
    return found


def _read_start(remote: Remote, name: SnapshotName, keys: tuple[Key, ...]) -> bytes:
    """Read a file up to the end of its header; stop earlier if the seal is not believed."""
    data = read_bounded(remote, name.manifest_path, _HEADER_GUESS)
    prefix = open_prefix(data, keys)
    needed = prefix.size + prefix.header_length
    if len(data) == _HEADER_GUESS < needed:
        data = read_bounded(remote, name.manifest_path, needed)
    return data


def _seal_of(signed: bytes, keys: tuple[Key, ...]) -> Seal:
    try:
        return Seal.OLDER if open_prefix(signed, keys).by_older_key else Seal.SIGNED
    except CorruptError:
        return Seal.FOREIGN


def _heads_among(
    remote: Remote, keys: tuple[Key, ...], names: Sequence[SnapshotName]
) -> tuple[list[ListedHead], list[Problem]]:
    found: list[ListedHead] = []
    problems: list[Problem] = []
    for name in sorted(names, key=lambda name: name.snapshot, reverse=True):
        if name.snapshot in superseded_by(item.header for item in found):
            continue
        try:
            header = read_header(remote, name, keys)
            found.append(ListedHead(header, remote.stat(name.manifest_path).mtime))
        except FileNotFoundError:
            continue  # superseded since the listing
        except (*UNUSABLE, OSError) as error:
            problems.append(problem_of(name.manifest_path, error))
    return found, problems
