"""tools/dump.py prints any file of a store, and says what is wrong with one that it cannot read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from b10_store.format.names import format_line
from b10_store.save.session_owner import own_mark
from tests.formats.make_v1 import SECRET
from tools.dump import main

CHECKOUT = Path(__file__).resolve().parents[2]
STORE = Path(__file__).parent / "v1" / "store"
PACK = next((STORE / "packs").glob("20fe*"))
MANIFEST = next((STORE / "manifests").glob("*~1700000180000-*"))
SIGNED = next((STORE / "manifests").glob("*signed*"))
SESSION = next((STORE / "sessions").iterdir())


class Printed(NamedTuple):
    """What a run printed, and its exit status."""

    status: int
    out: str
    error: str


class Dump:
    """Runs the program in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: str | Path) -> Printed:
        status = main([str(item) for item in arguments])
        printed = self._capsys.readouterr()
        return Printed(status, printed.out, printed.err)


@pytest.fixture
def dump(capsys: pytest.CaptureFixture[str]) -> Dump:
    return Dump(capsys)


def test_the_format_file_is_printed(dump: Dump) -> None:
    printed = dump.run(STORE / "FORMAT")
    assert printed.status == 0
    assert "intact" in printed.out
    assert "b10-transfer store, format 1, check 724ffa3e73b71b67" in printed.out


def test_a_pack_is_printed_with_its_frames_and_blobs(dump: Dump) -> None:
    printed = dump.run(PACK)
    assert printed.status == 0
    lines = printed.out.splitlines()
    assert lines[0] == f"{PACK}: pack, 495 bytes"
    assert lines[1].split() == ["id", PACK.stem]
    assert "frames  1, 212 raw bytes" in printed.out
    assert "0  at         0       139 bytes  raw at          0       212 bytes" in printed.out
    assert len([line for line in lines if " raw at " in line]) == 1 + 6


def test_a_manifest_is_printed_with_everything_in_it(dump: Dump) -> None:
    printed = dump.run(MANIFEST)
    assert printed.status == 0
    for expected in (
        MANIFEST.stem,
        "2023-11-14T22:16:20.000+00:00",
        "seal         digest",
        "parent       1700000060000-00000000000000000000000000000001",
        "ancestor     1700000000000-00000000000000000000000000000000",
        "environment  torch = 2.9.0+cu128",
        "recorded     threads = 8",
        "summary      8 artifacts",
        f"0  {PACK.stem}",
        "inductor: ab/cabc.py",
        "generation 1",
        "requires avx512,glibc 2.36, executable",
        "mtime 1699999999123456789 ns",
        "of the group fxgraph/gg/graphkey",
        "\u00fcml\u00e4ut/with space",
    ):
        assert expected in printed.out


def test_a_signed_manifest_is_printed_with_and_without_its_key(dump: Dump, tmp_path: Path) -> None:
    assert "MAC, not verified" in dump.run(SIGNED).out
    key = tmp_path / "key"
    key.write_bytes(SECRET + b"\n")
    assert "MAC, verified" in dump.run(SIGNED, "--key-file", key).out
    key.write_bytes(b"another key that nobody used")
    printed = dump.run(SIGNED, "--key-file", key)
    assert (printed.status, printed.out) == (1, "")
    assert "seal does not fit" in printed.error


def test_a_session_is_told_from_a_manifest(dump: Dump, tmp_path: Path) -> None:
    assert "has not written its manifest yet" in dump.run(SESSION).out
    marked = tmp_path / SESSION.name
    marked.write_bytes(own_mark())
    assert f"process {os.getpid()}" in dump.run(marked).out
    written = tmp_path / f"{MANIFEST.stem}.session"
    shutil.copy(MANIFEST, written)
    assert "session with a manifest, not published yet" in dump.run(written).out


def test_a_file_is_known_by_its_bytes_under_any_name(dump: Dump, tmp_path: Path) -> None:
    for original, kind in ((PACK, "pack"), (MANIFEST, "manifest")):
        copy = tmp_path / "some name"
        shutil.copy(original, copy)
        printed = dump.run(copy)
        assert printed.out.startswith(f"{copy}: {kind}")
        assert "ANOTHER NAME" not in printed.out


def test_a_wrong_name_is_pointed_out(dump: Dump, tmp_path: Path) -> None:
    for original, name in (
        (PACK, f"{'0' * 64}.pack"),
        (MANIFEST, SIGNED.name),
        (MANIFEST, SESSION.name),
    ):
        shutil.copy(original, tmp_path / name)
        assert "ANOTHER NAME" in dump.run(tmp_path / name).out


def test_several_files_are_printed_and_one_bad_one_spoils_only_the_status(
    dump: Dump, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    printed = dump.run(PACK, missing, MANIFEST)
    assert printed.status == 1
    assert PACK.stem in printed.out
    assert MANIFEST.stem in printed.out
    assert printed.error == f"{missing}: No such file or directory\n"


@pytest.mark.parametrize(
    ("original", "name", "reason"),
    [
        (PACK, PACK.name, "pack"),
        (MANIFEST, MANIFEST.name, "sealed"),
        (STORE / "FORMAT", "anything", "pack"),
    ],
)
def test_a_damaged_file_is_one_line_that_says_why(
    dump: Dump, tmp_path: Path, original: Path, name: str, reason: str
) -> None:
    damaged = tmp_path / name
    for content in (b"", b"x", original.read_bytes()[:40], bytes(200)):
        damaged.write_bytes(content)
        printed = dump.run(damaged)
        assert printed.status == 1
        assert printed.error.startswith(f"{damaged}: ")
        assert printed.error.count("\n") == 1
        assert reason in printed.error


def test_a_damaged_body_is_told_from_a_damaged_header(dump: Dump, tmp_path: Path) -> None:
    data = MANIFEST.read_bytes()
    damaged = tmp_path / MANIFEST.name
    damaged.write_bytes(data[:-1] + b"?")
    assert "its body is damaged" in dump.run(damaged).error
    damaged.write_bytes(data[:130] + b"?" + data[131:])
    assert "its header is damaged" in dump.run(damaged).error


def test_a_damaged_or_foreign_format_file_is_pointed_out(dump: Dump, tmp_path: Path) -> None:
    line = tmp_path / "FORMAT"
    line.write_bytes((STORE / "FORMAT").read_bytes()[:30])
    assert "damaged" in dump.run(line).out
    line.write_bytes(format_line(2))
    printed = dump.run(line)
    assert (printed.status, printed.out) == (1, "")
    assert "the store has format 2, this release reads format 1" in printed.error


def test_a_folder_is_no_file(dump: Dump) -> None:
    printed = dump.run(STORE)
    assert printed.status == 1
    assert "directory" in printed.error


@pytest.mark.parametrize("arguments", [[], ["--key-file"], ["--unknown", "x"]])
def test_a_wrong_command_line_is_an_error_with_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("secret", [None, b"short"])
def test_a_key_that_cannot_be_used_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], secret: bytes | None
) -> None:
    key = tmp_path / "key"
    if secret is not None:
        key.write_bytes(secret)
    with pytest.raises(SystemExit) as stopped:
        main([str(PACK), "--key-file", str(key)])
    assert stopped.value.code == 2
    assert str(key) in capsys.readouterr().err


def run_program(*arguments: str | Path, stdout: int) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(CHECKOUT / "tools" / "dump.py"), *map(str, arguments)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False)


def test_the_program_runs_by_itself() -> None:
    done = run_program(PACK, stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(str(PACK).encode())


def test_a_reader_that_has_seen_enough_ends_it_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run_program(*[MANIFEST] * 20, stdout=writing)
    finally:
        os.close(writing)
    assert done.stderr == b""
