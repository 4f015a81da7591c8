"""The names that every remote knows: the folders of a store, and the mark of unfinished files."""

from __future__ import annotations

PACKS = "packs"
MANIFESTS = "manifests"
SESSIONS = "sessions"
TRASH = "trash"
FENCED = "fenced"
QUARANTINE = "quarantine"
FOLDERS = (PACKS, MANIFESTS, SESSIONS, TRASH, FENCED, QUARANTINE)
"""All folders of a store."""
NO_FOLDER = "a link or a file, where a folder of the store belongs: put a folder there"
"""The message for anything else in the place of one. A link could lead to any file of a host."""

TEMPORARY_MARK = ".tmp-"
"""A file is written under `<name>.tmp-<random>` before it is renamed to `<name>`."""
