"""A store of immutable blobs on a shared folder, with manifests that many hosts publish at once.

The engine below `b10_transfer`. It knows bytes, files and other hosts, but no compilers,
environment variables or terminals. This module is its face: a product imports these names, and
nothing deeper. Begin with `Store`.

A name is imported at first use, so that a load does not wait for the code of a collection.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from b10_store.check.check import CheckReport as CheckReport
    from b10_store.collector import paused_collector as paused_collector
    from b10_store.digest import Digest as Digest
    from b10_store.digest import digest_from_bytes as digest_from_bytes
    from b10_store.digest import digest_of as digest_of
    from b10_store.digest import parse_digest as parse_digest
    from b10_store.errors import OUT_OF_SPACE as OUT_OF_SPACE
    from b10_store.errors import CannotSignError as CannotSignError
    from b10_store.errors import CorruptError as CorruptError
    from b10_store.errors import LimitError as LimitError
    from b10_store.errors import MissingLibraryError as MissingLibraryError
    from b10_store.errors import NoSpaceError as NoSpaceError
    from b10_store.errors import SizeLimitError as SizeLimitError
    from b10_store.errors import StoreError as StoreError
    from b10_store.errors import UnsupportedFormatError as UnsupportedFormatError
    from b10_store.errors import WeakKeyError as WeakKeyError
    from b10_store.folders import Bounds as Bounds
    from b10_store.folders import ForeignLinkError as ForeignLinkError
    from b10_store.folders import OpenFolder as OpenFolder
    from b10_store.folders import foreign_owner as foreign_owner
    from b10_store.folders import make_folder as make_folder
    from b10_store.folders import open_file as open_file
    from b10_store.folders import open_folder as open_folder
    from b10_store.folders import remove_tree as remove_tree
    from b10_store.format.keys import KEY_SIZE as KEY_SIZE
    from b10_store.format.keys import Key as Key
    from b10_store.format.keys import PrivateKey as PrivateKey
    from b10_store.format.keys import PublicKey as PublicKey
    from b10_store.format.keys import SigningKey as SigningKey
    from b10_store.format.manifest import REQUIREMENT_LIMIT as REQUIREMENT_LIMIT
    from b10_store.format.manifest import Entry as Entry
    from b10_store.format.manifest import Identity as Identity
    from b10_store.format.manifest import Lineage as Lineage
    from b10_store.format.manifest import Pack as Pack
    from b10_store.format.manifest import stored_bytes as stored_bytes
    from b10_store.format.manifest_file import Header as Header
    from b10_store.format.names import FORMAT_FILE as FORMAT_FILE
    from b10_store.format.names import STAGE_DISTANCE_SECONDS as STAGE_DISTANCE_SECONDS
    from b10_store.format.names import TOUCH_INTERVAL_SECONDS as TOUCH_INTERVAL_SECONDS
    from b10_store.format.names import WAIT_LIMIT_SECONDS as WAIT_LIMIT_SECONDS
    from b10_store.format.names import Address as Address
    from b10_store.format.names import PackId as PackId
    from b10_store.format.names import SnapshotId as SnapshotId
    from b10_store.format.names import SnapshotName as SnapshotName
    from b10_store.format.names import is_namespace as is_namespace
    from b10_store.format.names import pack_path as pack_path
    from b10_store.format.names import parse_snapshot_id as parse_snapshot_id
    from b10_store.format.names import snapshot_milliseconds as snapshot_milliseconds
    from b10_store.gc.plan import GcPolicy as GcPolicy
    from b10_store.gc.remove import Restored as Restored
    from b10_store.gc.report import GcReport as GcReport
    from b10_store.load import PACKS_AT_ONCE as PACKS_AT_ONCE
    from b10_store.load import LoadOutcome as LoadOutcome
    from b10_store.manifests.headers import Seal as Seal
    from b10_store.manifests.merge import MergedView as MergedView
    from b10_store.manifests.merge import merge as merge
    from b10_store.manifests.problem import Damage as Damage
    from b10_store.manifests.problem import Problem as Problem
    from b10_store.manifests.reader import Heads as Heads
    from b10_store.paths import RECORD_FOLDER as RECORD_FOLDER
    from b10_store.paths import check_path as check_path
    from b10_store.paths import local_path as local_path
    from b10_store.remote.folder import FolderRemote as FolderRemote
    from b10_store.remote.folder_names import SESSIONS as SESSIONS
    from b10_store.remote.folder_names import TEMPORARY_MARK as TEMPORARY_MARK
    from b10_store.remote.folder_names import TRASH as TRASH
    from b10_store.save.expiry import CROWD_LIMIT as CROWD_LIMIT
    from b10_store.save.request import SaveOutcome as SaveOutcome
    from b10_store.save.request import SaveRequest as SaveRequest
    from b10_store.save.session import Wait as Wait
    from b10_store.save.unchanged import StoreState as StoreState
    from b10_store.save.use import Use as Use
    from b10_store.save.use import folder_of as folder_of
    from b10_store.store import Listing as Listing
    from b10_store.store import Store as Store
    from b10_store.tree.content_check import ContentCheck as ContentCheck
    from b10_store.tree.frames_ahead import FramesAhead as FramesAhead
    from b10_store.tree.placement import LocalNames as LocalNames
    from b10_store.tree.placement import OpenRoot as OpenRoot
    from b10_store.tree.placement import Placed as Placed
    from b10_store.tree.placement import RestoreTarget as RestoreTarget
    from b10_store.tree.scan import CANONICAL_LIMIT as CANONICAL_LIMIT
    from b10_store.tree.scan import INCOMPLETE as INCOMPLETE
    from b10_store.tree.scan import JUDGED_LIMIT as JUDGED_LIMIT
    from b10_store.tree.scan import UNITED_LIMIT as UNITED_LIMIT
    from b10_store.tree.scan import Broken as Broken
    from b10_store.tree.scan import Fingerprint as Fingerprint
    from b10_store.tree.scan import FoundFile as FoundFile
    from b10_store.tree.scan import LocalFile as LocalFile
    from b10_store.tree.scan import Scanned as Scanned
    from b10_store.tree.scan import Skipped as Skipped
    from b10_store.tree.scan import hash_files as hash_files
    from b10_store.tree.scan import read_file as read_file
    from b10_store.tree.staging import STAGING_PREFIX as STAGING_PREFIX
    from b10_store.tree.walk import walk as walk

HOMES = {
    "check.check": ("CheckReport",),
    "collector": ("paused_collector",),
    "digest": ("Digest", "digest_from_bytes", "digest_of", "parse_digest"),
    "errors": (
        "CannotSignError",
        "CorruptError",
        "LimitError",
        "MissingLibraryError",
        "NoSpaceError",
        "OUT_OF_SPACE",
        "SizeLimitError",
        "StoreError",
        "UnsupportedFormatError",
        "WeakKeyError",
    ),
    "format.keys": ("KEY_SIZE", "Key", "PrivateKey", "PublicKey", "SigningKey"),
    "format.manifest": (
        "Entry",
        "Identity",
        "Lineage",
        "Pack",
        "REQUIREMENT_LIMIT",
        "stored_bytes",
    ),
    "format.manifest_file": ("Header",),
    "format.names": (
        "Address",
        "FORMAT_FILE",
        "PackId",
        "STAGE_DISTANCE_SECONDS",
        "SnapshotId",
        "SnapshotName",
        "TOUCH_INTERVAL_SECONDS",
        "WAIT_LIMIT_SECONDS",
        "is_namespace",
        "pack_path",
        "parse_snapshot_id",
        "snapshot_milliseconds",
    ),
    "gc.plan": ("GcPolicy",),
    "gc.remove": ("Restored",),
    "gc.report": ("GcReport",),
    "load": ("LoadOutcome", "PACKS_AT_ONCE"),
    "manifests.headers": ("Seal",),
    "manifests.merge": ("MergedView", "merge"),
    "manifests.problem": ("Damage", "Problem"),
    "manifests.reader": ("Heads",),
    "folders": (
        "Bounds",
        "ForeignLinkError",
        "OpenFolder",
        "foreign_owner",
        "make_folder",
        "open_file",
        "open_folder",
        "remove_tree",
    ),
    "paths": ("RECORD_FOLDER", "check_path", "local_path"),
    "remote.folder": ("FolderRemote",),
    "remote.folder_names": ("SESSIONS", "TEMPORARY_MARK", "TRASH"),
    "save.expiry": ("CROWD_LIMIT",),
    "save.request": ("SaveOutcome", "SaveRequest"),
    "save.session": ("Wait",),
    "save.unchanged": ("StoreState",),
    "save.use": ("Use", "folder_of"),
    "store": ("Listing", "Store"),
    "tree.content_check": ("ContentCheck",),
    "tree.frames_ahead": ("FramesAhead",),
    "tree.placement": ("LocalNames", "Placed", "RestoreTarget", "OpenRoot"),
    "tree.scan": (
        "Broken",
        "CANONICAL_LIMIT",
        "Fingerprint",
        "FoundFile",
        "INCOMPLETE",
        "JUDGED_LIMIT",
        "LocalFile",
        "Scanned",
        "Skipped",
        "UNITED_LIMIT",
        "hash_files",
        "read_file",
    ),
    "tree.staging": ("STAGING_PREFIX",),
    "tree.walk": ("walk",),
}
"""The names of each module below that are part of the face."""

OPERATIONS = {
    "load": ("store", "remote.folder"),
    "save": ("save.save", "save.unchanged"),
    "collect": ("gc.visit",),
}
"""The modules that each operation of `Store` needs, together with what these import."""

_MODULES = {name: module for module, names in HOMES.items() for name in names}


def import_for(operation: str) -> None:
    """Import what one of `OPERATIONS` needs, for callers that must not import it at first use.

    Raises:
        ImportError: something is missing.
    """
    for module in OPERATIONS[operation]:
        importlib.import_module(f"{__name__}.{module}")


if not TYPE_CHECKING:  # otherwise any name would be taken for one of the face

    def __getattr__(name: str) -> object:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found: object = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted([*globals(), *_MODULES])
