"""What `doctor` says of the store's mount: its kind, what it can do, and its clock."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from b10_transfer.doctor import capabilities, mount_probe
from b10_transfer.doctor.capabilities import mount_findings, trial_findings
from b10_transfer.doctor.mount import Answers, Step, look_at, try_out
from b10_transfer.machine.filesystems import Filesystem, filesystem_of
from tests.support.cache_trees import compiled_graph
from tests.support.doctor_views import one, problem_codes
from tests.support.mounts import tmpfs
from tests.support.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from b10_transfer.doctor import Finding

TREE = compiled_graph("model")
DAY = 86400.0


def trial(folder: Path) -> list[Finding]:
    """What is found when a folder is tried out, in this process, as it is now."""
    return list(trial_findings(try_out(str(folder), ())))


def problems(findings: list[Finding]) -> list[tuple[str, object]]:
    """Code and step of each problem."""
    return [(item.code, item.details.get("step")) for item in findings if item.is_problem]


# What it can do.


def test_an_ordinary_filesystem_can_do_everything(saved: Site) -> None:
    assert problems(trial(saved.store)) == []


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Probes run in this process, in which effects can be made to fail."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    return monkeypatch


def failing(number: int) -> Callable[..., None]:
    """An effect that is refused."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("effect", "number", "expected"),
    [
        ("fsync", errno.EINVAL, ["fsync"]),
        ("utime", errno.EPERM, ["touch"]),
        ("mkdir", errno.EOPNOTSUPP, ["rename_folder"]),
        ("rename", errno.EIO, ["rename", "descriptor", "rename_folder"]),
    ],
)
def test_what_a_mount_refuses_is_named(
    tmp_path: Path,
    in_process: pytest.MonkeyPatch,
    effect: str,
    number: int,
    expected: list[str],
) -> None:
    with in_process.context() as patch:
        patch.setattr(os, effect, failing(number))
        findings = trial(tmp_path)
    assert problems(findings) == [("mount.unfit", step) for step in expected]
    assert all(os.strerror(number) in item.text for item in findings if item.is_problem)
    assert all(item.advice for item in findings if item.is_problem)


def test_a_mount_that_does_not_answer_or_refuses_every_file_is_named() -> None:
    (finding,) = trial_findings(Answers(pending="rename"))
    assert (finding.code, finding.details["step"]) == ("store.no_answer", "rename")
    refused = Step({}, error=os.strerror(errno.EIO), errno=errno.EIO)
    (finding,) = trial_findings(Answers({"create": refused}))
    assert (finding.code, finding.details["step"]) == ("mount.unfit", "create")
    assert os.strerror(errno.EIO) in finding.text


def test_a_rename_that_copies_and_leaves_the_source_is_named(
    tmp_path: Path, in_process: pytest.MonkeyPatch
) -> None:
    in_process.setattr(mount_probe, "_PATIENCE_SECONDS", 0.1)
    in_process.setattr(os, "replace", shutil.copyfile)
    assert problems(trial(tmp_path)) == [("mount.unfit", "rename")]


def test_a_rename_under_which_an_open_file_becomes_another_is_named(
    tmp_path: Path, in_process: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def copying(source: str, target: str) -> None:
        real(source, target)
        if os.path.isfile(target):
            shutil.copyfile(target, target + ".copy")
            real(target + ".copy", target)

    in_process.setattr(mount_probe, "_PATIENCE_SECONDS", 0.1)
    in_process.setattr(os, "rename", copying)
    assert problems(trial(tmp_path)) == [("mount.unfit", "descriptor")]


def test_a_mount_that_keeps_no_times_is_named(
    tmp_path: Path, in_process: pytest.MonkeyPatch
) -> None:
    in_process.setattr(mount_probe, "_PATIENCE_SECONDS", 0.1)

    def ignore(*_: object) -> None:
        pass

    in_process.setattr(os, "utime", ignore)
    assert problems(trial(tmp_path)) == [("mount.unfit", "touch")]


def test_an_exclusive_create_that_is_none_is_named(
    tmp_path: Path, in_process: pytest.MonkeyPatch
) -> None:
    real = os.open

    def forgiving(path: str, flags: int, mode: int = 0o777) -> int:
        return real(path, flags & ~os.O_EXCL, mode)

    in_process.setattr(os, "open", forgiving)
    assert problems(trial(tmp_path)) == [("mount.unfit", "exclusive")]


def test_files_that_never_show_are_named_and_those_that_show_late_are_not(
    tmp_path: Path, in_process: pytest.MonkeyPatch
) -> None:
    real, calls = os.listdir, iter(range(100))

    def late(path: str) -> list[str]:
        return real(path) if next(calls) > 2 else []

    def never(_: str) -> list[str]:
        return []

    in_process.setattr(mount_probe, "_PATIENCE_SECONDS", 60.0)
    in_process.setattr(os, "listdir", late)
    assert problems(trial(tmp_path)) == []
    in_process.setattr(mount_probe, "_PATIENCE_SECONDS", 0.1)
    in_process.setattr(os, "listdir", never)
    assert ("mount.unfit", "visible") in problems(trial(tmp_path))


# Which filesystem it is.

TABLE = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:26 / /cache rw - nfs4 10.0.0.1:/export rw,vers=4.2
31 30 0:27 / /cache/with\040blank rw - fuse.gcsfuse bucket rw
32 22 0:28 / /s3 rw - fuse mountpoint-s3 rw
33 22 0:29 / /twice rw - tmpfs tmpfs rw
34 22 0:30 / /twice rw shared:7 master:3 - cephfs 10.0.0.2:6789:/ rw
broken
"""


@pytest.mark.parametrize(
    ("path", "kind", "is_local", "is_object_store"),
    [
        ("/cache/model", "nfs4", False, False),
        ("/cachet", "ext4", True, False),
        ("/cache/with blank/store", "fuse.gcsfuse", False, True),
        ("/s3", "fuse", False, True),
        ("/twice/x", "cephfs", False, False),
        ("/", "ext4", True, False),
    ],
)
def test_the_filesystem_is_that_of_the_nearest_mount(
    tmp_path: Path, path: str, kind: str, is_local: bool, is_object_store: bool
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    mounted = filesystem_of(path, str(table))
    assert mounted is not None
    assert (mounted.kind, mounted.is_local, mounted.is_object_store) == (
        kind,
        is_local,
        is_object_store,
    )


def test_where_there_is_no_table_of_mounts_nothing_is_said(tmp_path: Path) -> None:
    assert filesystem_of("/", str(tmp_path / "none")) is None


@pytest.mark.parametrize("source", ["s3fs", "fuse.blobfuse2", "rclone", "JuiceFS:mine", "mfs#x"])
def test_only_those_that_cannot_rename_are_object_stores(source: str) -> None:
    mounted = Filesystem("fuse", source, "/mnt")
    assert mounted.is_object_store == (source in {"s3fs", "fuse.blobfuse2", "rclone"})


def test_a_store_on_a_filesystem_of_this_host_is_worth_a_note(saved: Site) -> None:
    with tmpfs(saved.folder / "memory", 64 << 20) as folder:
        host = Site(folder).host("host", TREE)
        host.save()
        finding = one(host, "mount.local")
        assert f"tmpfs (tmpfs at {folder})" in finding.text
        assert finding.details["filesystem"] == "tmpfs"
        assert problem_codes(host, B10_CACHE_ROOTS="inductor") == []


def test_an_object_store_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def bucket(_: str) -> Filesystem:
        return Filesystem("fuse.s3fs", "s3fs", "/cache")

    monkeypatch.setattr(capabilities, "filesystem_of", bucket)
    (finding,) = mount_findings(look_at(str(tmp_path)))
    assert (finding.code, finding.is_problem) == ("mount.object_store", True)
    assert "s3fs at /cache" in finding.text


# The clocks.


def clock_findings(skew: float) -> list[Finding]:
    """What is said when the filesystem's clock is so many seconds ahead of this host's."""
    steps = {"create": Step({"mtime": 1000.0 + skew, "before": 1000.0, "after": 1000.5})}
    return list(trial_findings(Answers(steps)))


@pytest.mark.parametrize("skew", [0.2, -0.01, 100.5, -100.0])
def test_a_clock_that_is_little_wrong_is_no_matter(skew: float) -> None:
    assert clock_findings(skew) == []


@pytest.mark.parametrize(("days", "text"), [(30, "behind"), (-30, "ahead of")])
def test_a_clock_that_is_days_wrong_is_a_problem(days: int, text: str) -> None:
    (finding,) = clock_findings(days * DAY)
    assert (finding.code, finding.is_problem) == ("clock.skew", True)
    assert text in finding.text


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

/* As on a host of which the clock is wrong: the kernel, and its filesystems, have another time. */
int clock_gettime(clockid_t clock, struct timespec *found) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, found);
    if (clock == CLOCK_REALTIME) found->tv_sec += 720000;
    return result;
}
"""


def test_a_host_with_a_wrong_clock_is_found_out(
    saved: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no gcc")
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    host = saved.host("host")
    host.settings()
    monkeypatch.setenv("LD_PRELOAD", str(library))
    finding = one(host, "clock.skew")
    assert finding.text.startswith(
        "this host's clock is 720000 s ahead of the clock of the store's"
    )
    assert finding.is_problem
