"""LMDB databases built and read without the engine."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import lmdb

if TYPE_CHECKING:
    from collections.abc import Mapping

Rows = dict[bytes, bytes]


def build_database(tables: Mapping[str, Mapping[bytes, bytes]]) -> bytes:
    """The file of a database with these tables."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "database")
        with lmdb.open(path, map_size=64 << 20, subdir=False, lock=False, max_dbs=8) as database:
            for name, rows in tables.items():
                table = database.open_db(name.encode())
                with database.begin(write=True, db=table) as transaction:
                    for key, value in rows.items():
                        transaction.put(key, value)
            compact = os.path.join(folder, "compact")
            with open(compact, "w+b") as file:
                database.copyfd(file.fileno(), compact=True)
        with open(compact, "rb") as file:
            return file.read()


def read_database(raw: bytes) -> dict[str, Rows]:
    """Every row of every table of a database file."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "database")
        with open(path, "wb") as file:
            file.write(raw)
        with (
            lmdb.open(path, readonly=True, lock=False, subdir=False, max_dbs=8) as database,
            database.begin() as transaction,
        ):
            names = [bytes(key) for key, _ in transaction.cursor()]
            tables: dict[str, Rows] = {}
            for name in names:
                table = database.open_db(name, transaction, create=False)
                cursor = transaction.cursor(db=table)
                tables[name.decode()] = {bytes(key): bytes(value) for key, value in cursor}
            return tables
