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
NO_FOLDER = "a link or a file is in place of a folder of the store: put a folder there"
"""The message when something else is in place of a folder: a link could lead to any file."""

TEMPORARY_MARK = ".tmp-"
"""A file is written under `<name>.tmp-<random>` before it is renamed to `<name>`."""
