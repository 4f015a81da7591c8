"""A cache root on a volume that moves to another kind of machine.

ATEN_CPU_CAPABILITY stands for the other machine: it changes the vector instruction set that torch
compiles for, and so the environment key, on one and the same CPU.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from b10_transfer import OperationStatus, Settings, load, save

if TYPE_CHECKING:
    from pathlib import Path


def machine(place: Path, root: str, capability: str) -> Settings:
    return Settings.from_environment(
        {
            "BASETEN_FS_ENABLED": "1",
            "B10FS_CACHE_DIR": str(place / "store"),
            "TORCHINDUCTOR_CACHE_DIR": str(place / root),
            "HOME": str(place),
            "TMPDIR": str(place),
            "LOCAL_WORK_DIR": str(place),
            "ATEN_CPU_CAPABILITY": capability,
        }
    )


def write(place: Path, path: str) -> None:
    file = place / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(path)


def names_below(folder: Path) -> set[str]:
    return {name for _, _, names in os.walk(folder / "ab") for name in names}


def test_what_one_machine_made_is_not_published_as_made_for_another(tmp_path: Path) -> None:
    write(tmp_path, "volume/ab/first.py")
    assert save(machine(tmp_path, "volume", "default")).status is OperationStatus.SUCCESS

    report = load(machine(tmp_path, "volume", "avx2"))
    assert report.status is OperationStatus.DOES_NOT_EXIST
    assert "another environment" in report.problems[0]

    write(tmp_path, "volume/ab/second.py")
    saved = save(machine(tmp_path, "volume", "avx2"))
    assert (saved.added, saved.left_out) == (1, 1)
    load(machine(tmp_path, "fresh", "avx2"))
    assert names_below(tmp_path / "fresh") == {"second.py"}


def test_what_was_loaded_for_one_machine_is_not_published_for_another(tmp_path: Path) -> None:
    write(tmp_path, "origin/ab/first.py")
    save(machine(tmp_path, "origin", "default"))
    load(machine(tmp_path, "volume", "default"))

    moved = save(machine(tmp_path, "volume", "avx2"))
    assert moved.status is OperationStatus.SKIPPED
    assert moved.left_out == 1
    report = load(machine(tmp_path, "fresh", "avx2"))
    assert report.status is OperationStatus.DOES_NOT_EXIST


def test_a_root_that_stays_on_its_machine_is_saved_whole(tmp_path: Path) -> None:
    write(tmp_path, "volume/ab/first.py")
    load(machine(tmp_path, "volume", "default"))
    saved = save(machine(tmp_path, "volume", "default"))
    assert (saved.added, saved.left_out) == (1, 0)
