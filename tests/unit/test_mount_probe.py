"""The probe of a mount: what it tells, that it leaves nothing, and that it need not end."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from b10_store.remote.folder_names import TEMPORARY_MARK
from b10_transfer.doctor import mount_probe, patience
from b10_transfer.doctor.mount import look_at, try_out
from tests.support.hung_mounts import ANSWER_SECONDS, hung
from tests.support.mounts import read_only, tmpfs
from tests.support.waiting import SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEPS = [
    *("create", "fsync", "exclusive", "visible", "touch", "rename", "descriptor"),
    *("rename_folder", "delete"),
]
BOTH = pytest.mark.parametrize("in_process", [False, True], ids=["process", "thread"])


def forbid_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)


@BOTH
def test_an_ordinary_folder_can_do_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: bool
) -> None:
    if in_process:
        forbid_processes(monkeypatch)
    answers = try_out(str(tmp_path), ())
    assert (list(answers.steps), answers.pending) == (STEPS, "")
    assert [name for name, step in answers.steps.items() if not step.holds] == []
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_a_folder_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: bool
) -> None:
    if in_process:
        forbid_processes(monkeypatch)
    answers = look_at(str(tmp_path / "gone"))
    assert {name: step.errno for name, step in answers.steps.items()} == {"status": errno.ENOENT}


def test_a_look_tells_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    (tmp_path / "odd \udcff name\n").write_bytes(b"")
    answers = look_at(str(tmp_path))
    assert answers.facts("listing")["names"] == sorted(["packs", "odd \udcff name\n"])
    assert set(answers.facts("access")) == {"", "packs"}
    assert answers.facts("path")["path"] == os.path.realpath(tmp_path)


def test_its_files_are_named_as_those_that_a_collection_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    for name in ("sessions", "trash"):
        (tmp_path / name).mkdir()
    real = mount_probe.Trial.steps

    def watched(trial: mount_probe.Trial) -> Any:
        for name, step in real(trial):
            yield name, step
            for where, folders, files in os.walk(tmp_path):
                at = os.path.relpath(where, tmp_path)
                seen.update(f"{at}/{item}" for item in files)
                seen.update(f"{at}/{item}/" for item in folders if at != ".")

    forbid_processes(monkeypatch)
    monkeypatch.setattr(mount_probe.Trial, "steps", watched)
    monkeypatch.setattr(os, "unlink", refuse(os.unlink))
    monkeypatch.setattr(os, "rmdir", refuse(os.rmdir))
    try_out(str(tmp_path), ["sessions", "trash"])
    files = {name for name in seen if not name.endswith("/")}
    folders = seen - files
    assert files
    assert folders
    assert all(name.startswith(("sessions/", "trash/probe")) for name in files)
    assert all(name.startswith("trash/") for name in folders)
    assert all(TEMPORARY_MARK in name.rpartition("/")[2] for name in files)


def refuse(_: object) -> Callable[..., None]:
    """What stands for an effect that fails."""

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "not allowed")

    return fail


def test_a_step_that_fails_leaves_nothing_and_lets_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_processes(monkeypatch)
    monkeypatch.setattr(os, "mkdir", refuse(os.mkdir))
    answers = try_out(str(tmp_path), ())
    failed = [name for name, step in answers.steps.items() if step.error]
    assert (failed, list(answers.steps)) == (["rename_folder"], STEPS)
    assert list(tmp_path.iterdir()) == []


def test_a_collection_that_takes_the_empty_folder_away_is_no_fault_of_the_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_processes(monkeypatch)
    real, calls = os.mkdir, iter(range(100))

    def swept(path: str, mode: int) -> None:
        real(path, mode)
        if next(calls) < 2:
            os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", swept)
    assert try_out(str(tmp_path), ()).steps["rename_folder"].holds
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_can_be_made_nothing_more_is_tried(tmp_path: Path) -> None:
    with read_only(tmp_path):
        answers = try_out(str(tmp_path), ())
    assert {name: step.errno for name, step in answers.steps.items()} == {"create": errno.EROFS}


def test_where_no_inode_is_left_nothing_more_is_tried(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "full", 1 << 20, files=1) as folder:
        (folder / "the one").write_bytes(b"")
        answers = try_out(str(folder), ())
        assert len(list(folder.iterdir())) == 1
    assert {name: step.errno for name, step in answers.steps.items()} == {"create": errno.ENOSPC}


@BOTH
def test_one_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: bool
) -> None:
    monkeypatch.setattr(patience, "ANSWER_SECONDS", ANSWER_SECONDS)
    if in_process:
        forbid_processes(monkeypatch)
    with hung(tmp_path / "hung") as folder:
        answers = look_at(str(folder))
    assert (answers.steps, answers.pending) == ({}, "status")


def test_a_process_that_is_given_up_on_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = tmp_path / "pid"
    program = tmp_path / "program"
    program.write_text(
        f'#!/bin/sh\necho $$ > {noted}\necho \'{{"begin": "status"}}\'\nexec sleep 600\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(patience, "ANSWER_SECONDS", ANSWER_SECONDS)
    monkeypatch.setattr(sys, "executable", str(program))
    assert look_at(str(tmp_path)).pending == "status"
    eventually(lambda: not psutil.pid_exists(int(noted.read_text())))


def test_where_another_program_is_in_the_place_of_python_a_thread_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("/bin/false", "/bin/echo", "/nonexistent", ""):
        monkeypatch.setattr(sys, "executable", program)
        assert list(try_out(str(tmp_path), ()).steps) == STEPS


def test_who_stops_listening_does_not_keep_it_from_cleaning_up(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", mount_probe.__file__]
    process = subprocess.Popen(
        [*command, "try", str(tmp_path), ".", ".", "probe"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(SECONDS) == 0
    assert list(tmp_path.iterdir()) == []


def test_it_runs_without_the_rest_of_the_package(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-X", "importtime", mount_probe.__file__]
    result = subprocess.run([*command, "look", str(tmp_path)], capture_output=True, check=True)
    assert b"b10_" not in result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[0] == {"begin": "status"}
    assert lines[-1]["step"] == "links"


def test_a_mount_that_lets_new_files_show_late_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_processes(monkeypatch)
    real, calls = os.listdir, iter(range(100))

    def late(path: str) -> list[str]:
        return [] if next(calls) < 3 else real(path)

    monkeypatch.setattr(os, "listdir", late)
    step = try_out(str(tmp_path), ()).steps["visible"]
    assert step.holds


@pytest.mark.parametrize("name", ["stat", "listdir", "replace", "rename", "utime", "fsync"])
def test_one_passing_error_changes_nothing_of_what_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    forbid_processes(monkeypatch)
    real: Callable[..., Any] = getattr(os, name)
    failed: list[str] = []

    def fail_once(path: object, *rest: Any, **options: Any) -> object:
        if not failed and (isinstance(path, int) or str(path).startswith(str(tmp_path))):
            failed.append(name)
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, *rest, **options)

    monkeypatch.setattr(os, name, fail_once)
    answers = try_out(str(tmp_path), ())
    assert [step for step, found in answers.steps.items() if not found.holds] == []
    assert failed == [name]
    assert list(tmp_path.iterdir()) == []
    failed.clear()
    assert not [step for step, found in look_at(str(tmp_path)).steps.items() if found.error]
