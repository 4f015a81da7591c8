"""What `doctor` is as a whole: it looks at everything, changes nothing, and never fails."""

from __future__ import annotations

import json
import re
import tempfile
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest

from b10_transfer.doctor import Code, Severity, examination, examine, machine, patience
from b10_transfer.settings import Settings
from tests.support.bare_machines import programs
from tests.support.cache_trees import (
    TRITON_HASH,
    compiled_graph,
    snapshot,
    triton_kernel,
    write_tree,
)
from tests.support.doctor_views import found, one, problem_codes
from tests.support.hung_mounts import ANSWER_SECONDS, hung
from tests.support.machines import CPU_MACHINE, GPU_MACHINE, Machine, running_on
from tests.support.mounts import read_only
from tests.support.programs import run_python
from tests.support.sites import CHECKOUT, Site, become

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Host

TREE = compiled_graph("model")
KEY = "a key that nobody may see"


def content(folder: Path) -> dict[str, object]:
    """What a snapshot has, without the times of folders that files came to and went from."""
    return {
        path: (status[0],) if folder.joinpath(path).is_dir() else status
        for path, status in snapshot(folder).items()
    }


@pytest.mark.parametrize("machine", [CPU_MACHINE, GPU_MACHINE], ids=["CPU", "GPU"])
def test_a_host_that_saved_and_one_that_loaded_have_no_problem(
    site: Site, machine: Machine
) -> None:
    with running_on(machine):
        saver, loader = site.host("saver", TREE), site.host("loader")
        saver.save()
        loader.load()
        for host in (saver, loader):
            assert problem_codes(host) == []


def test_a_host_that_has_not_loaded_yet_has_no_problem(saved: Site) -> None:
    assert problem_codes(saved.host("host")) == []


def test_several_things_are_found_at_once_in_an_order_that_stays(
    site: Site, tmp_path: Path
) -> None:
    bare = programs(tmp_path / "bin")
    codes = problem_codes(
        site.host("host"), BASETEN_FS_ENABLED="0", B10_CACHE_LOAD="0", PATH=bare, CXX=None
    )
    assert codes == [
        "settings.off",
        "settings.off",
        "store.missing",
        "host.missing_tool",
        "host.missing_tool",
    ]


def test_a_finding_is_plain_json(saved: Site) -> None:
    host = saved.host("host", TREE)
    findings = examine(host.settings(B10_CACHE_NAMESPACE="other"))
    rows = json.loads(json.dumps([item.as_json() for item in findings]))
    for row, item in zip(rows, findings, strict=True):
        assert list(row) == [
            *("code", "severity", "is_problem", "subject", "text", "advice", "details"),
        ]
        assert (row["code"], row["severity"]) == (item.code, item.severity.value)
        assert row["is_problem"] is (item.severity is Severity.PROBLEM)


def test_every_finding_says_what_to_do(site: Site) -> None:
    site.store.mkdir()
    for item in examine(site.host("host").settings(BASETEN_FS_ENABLED=None)):
        assert item.advice
        assert "\n" not in item.text + item.advice


def test_the_manual_explains_every_code_and_no_other() -> None:
    manual = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in manual.splitlines() if line.startswith("| `")]
    explained = {code for row in rows for code in re.findall(r"`([a-z]+\.[a-z_]+)`", row)}
    missing = explained ^ set(get_args(Code))
    assert missing == set(), f"{missing}: in the table of docs/operations.md, or in Code, only"


# It changes nothing.


def test_it_changes_nothing_here_and_leaves_nothing_in_the_store(saved: Site) -> None:
    host = saved.host("host")
    host.load()
    host.variables()
    write_tree(host.triton / TRITON_HASH, triton_kernel(host.triton / TRITON_HASH))
    # Something that a load would sweep, and timings that it would unite.
    write_tree(host.root, {".b10_transfer/staging-0/x": b"", "cache/" + "0" * 64: b"{}"})
    strange = replace(CPU_MACHINE, c_library="glibc 2.40").environment()
    settings = host.settings()
    before, store = snapshot(host.folder), content(saved.store)
    examine(settings)
    with running_on(strange):
        examine(settings)
    assert snapshot(host.folder) == before
    assert content(saved.store) == store


@pytest.mark.parametrize("trash", [True, False], ids=["with trash", "without"])
def test_an_empty_store_stays_empty(site: Site, trash: bool) -> None:
    site.store.mkdir()
    if trash:
        (site.store / "trash").mkdir()
    before = content(site.store)
    assert problem_codes(site.host("host")) == ["stored.nothing"]
    assert content(site.store) == before


def test_it_makes_no_folder_where_there_is_none(site: Site) -> None:
    settings = site.host("host").settings()
    before = snapshot(site.folder)
    examine(settings)
    assert snapshot(site.folder) == before


@pytest.mark.parametrize("is_off", [True, False])
def test_nothing_is_written_to_a_store_that_is_not_to_be_used(
    saved: Site, is_off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_off:
        line = "b10-transfer store, format 99, check 0123456789abcdef\n"
        (saved.store / "FORMAT").write_text(line)
    before = snapshot(saved.store)
    monkeypatch.setattr(examination, "try_out", must_not_be_called)
    (code,) = problem_codes(saved.host("host"), BASETEN_FS_ENABLED="0" if is_off else "1")
    assert code == ("settings.off" if is_off else "store.format")
    assert snapshot(saved.store) == before


def must_not_be_called(*_: object) -> None:
    raise AssertionError


def test_nothing_is_written_to_a_read_only_store(saved: Site) -> None:
    host = saved.host("host")
    with read_only(saved.store):
        assert problem_codes(host) == []
        assert len(found(host, "store.read_only")) == 1


# It never fails.


def test_settings_are_read_from_the_environment(
    saved: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = become(saved.host("host"), monkeypatch)
    codes = [item.code for item in examine(host.settings())]
    assert [item.code for item in examine()] == codes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("B10_CACHE_NAMESPACE", "Not so"),
        ("MAX_CACHE_SIZE_MB", "many"),
        ("B10_CACHE_SIGNING_KEY", "short"),
        ("B10_CACHE_SIGNING_KEY_FILE", "/nonexistent/key"),
        ("LOCAL_WORK_DIR", "relative"),
        ("B10FS_CACHE_DIR", "relative"),
        ("B10FS_CACHE_DIR", "/usr"),
        ("B10_CACHE_ROOTS", "none-such"),
    ],
)
def test_a_bad_setting_is_a_finding_and_the_rest_is_looked_at(
    saved: Site, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    spoil(saved)
    become(saved.host("host"), monkeypatch, TORCH_COMPILE_DISABLE="1", **{name: value})
    findings = examine()
    (invalid,) = [item for item in findings if item.code == "settings.invalid"]
    assert (invalid.is_problem, invalid.details["name"]) == (True, name)
    assert name in invalid.text
    assert f"correct {name}" in invalid.advice
    codes = {item.code for item in findings}
    assert "host.caching_off" in codes
    # Of another store than the one that is meant nothing is said.
    assert ("stored.damaged" in codes) == (name != "B10FS_CACHE_DIR")


def spoil(site: Site) -> None:
    """Leave something in the store that is found when that is looked at."""
    (path,) = site.files("manifests")
    path.write_bytes(path.read_bytes()[:100])


def test_several_bad_settings_are_all_named(saved: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {
        "B10_CACHE_SIGNING_KEY": KEY,
        "B10_CACHE_SIGNING_KEY_FILE": "/nonexistent/key",
        "MAX_CACHE_SIZE_MB": "many",
        "BASETEN_FS_ENABLED": "perhaps",
    }
    become(saved.host("host"), monkeypatch, **bad)
    findings = examine()
    named = {item.details["name"] for item in findings if item.code == "settings.invalid"}
    assert {"MAX_CACHE_SIZE_MB", "BASETEN_FS_ENABLED"} < named
    assert not any(KEY in json.dumps(item.as_json()) for item in findings)


def test_the_signing_key_is_in_no_finding(saved: Site) -> None:
    host = saved.host("host")
    for item in examine(host.settings(B10_CACHE_SIGNING_KEY=KEY)):
        assert KEY not in json.dumps(item.as_json())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("nobody foresaw this"), "nobody foresaw this"),
        (RuntimeError("can't start new thread"), "the limit is reached; raise `ulimit -u`"),
    ],
)
def test_an_examination_that_fails_is_a_finding_and_the_others_go_on(
    saved: Site, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(machine, "version_findings", fail)
    spoil(saved)
    host = saved.host("host")
    failed = one(host, "doctor.failed")
    assert (failed.is_problem, told in failed.text) == (True, True)
    assert len(found(host, "stored.damaged")) == 1


def test_an_examination_that_hangs_is_a_finding_and_the_others_go_on(
    saved: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "ANSWER_SECONDS", ANSWER_SECONDS)
    end = threading.Event()

    def hang(_: object) -> tuple[()]:
        end.wait()
        return ()

    monkeypatch.setattr(machine, "device_findings", hang)
    spoil(saved)
    findings = examine(saved.host("host").settings())
    end.set()
    hanging, damaged = [item for item in findings if item.is_problem]
    assert (hanging.code, hanging.subject) == ("doctor.no_answer", "machine")
    assert damaged.code == "stored.damaged"


def examined(host: Host, **changes: str | None) -> list[dict[str, object]]:
    """What a process of its own finds; it has to end."""
    code = (
        "import json, sys\n"
        "from b10_transfer import doctor\n"
        "from b10_transfer.doctor import patience\n"
        f"patience.ANSWER_SECONDS = {ANSWER_SECONDS}\n"
        "print(json.dumps([item.as_json() for item in doctor.examine()]))\n"
        "sys.exit('torch' in sys.modules)"
    )
    result = run_python(code, host.variables(**changes))
    assert (result.returncode, result.stderr) == (0, "")
    found: list[dict[str, object]] = json.loads(result.stdout)
    return found


def test_a_store_that_hangs_hangs_nothing(site: Site) -> None:
    with hung(site.store):
        findings = examined(site.host("host"), TORCH_COMPILE_DISABLE="1")
    problems = [item for item in findings if item["is_problem"]]
    assert [item["code"] for item in problems] == ["host.caching_off", "store.no_answer"]
    assert "did not answer within 3 s" in str(problems[1]["text"])


def test_settings_of_a_store_that_hangs_can_be_given(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "ANSWER_SECONDS", ANSWER_SECONDS)
    settings = site.host("host").settings()
    with hung(site.store):
        findings = examine(settings)
    assert [item.code for item in findings if item.is_problem] == ["store.no_answer"]


def test_a_cache_root_that_hangs_is_named_and_hangs_nothing(saved: Site) -> None:
    host = saved.host("host")
    spoil(saved)
    with hung(host.triton):
        findings = examined(host)
    (hanging,) = [item for item in findings if item["code"] == "doctor.no_answer"]
    assert (hanging["is_problem"], hanging["subject"]) == (True, "triton")
    assert f"the mount at {host.triton} did not answer within 3 s" in str(hanging["text"])
    assert any(item["code"] == "stored.damaged" for item in findings)


@pytest.mark.parametrize(
    "name",
    ["TORCHINDUCTOR_CACHE_DIR", "LOCAL_WORK_DIR", "B10_CACHE_SIGNING_KEY_FILE"],
)
def test_a_setting_that_leads_to_a_mount_that_hangs_is_named_and_hangs_nothing(
    saved: Site, name: str
) -> None:
    host = saved.host("host")
    spoil(saved)
    with hung(host.folder / "hung") as folder:
        findings = examined(host, **{name: str(folder / "there")})
    (hanging,) = [item for item in findings if item["code"] == "doctor.no_answer"]
    assert (hanging["is_problem"], name in str(hanging["text"])) == (True, True)
    assert any(item["code"] == "stored.damaged" for item in findings)


def test_a_root_of_which_nothing_is_known_beforehand_is_given_up_on(
    saved: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()

    def hang(*_: object, **__: object) -> None:
        end.wait()

    monkeypatch.setattr(examination, "_ROOT_SECONDS", 0.2)
    monkeypatch.setattr(examination, "examine_root", hang)
    host = saved.host("host")
    findings = examine(host.settings(B10_CACHE_ROOTS="inductor,triton"))
    end.set()
    hanging = [item.subject for item in findings if item.code == "doctor.no_answer"]
    assert hanging == ["inductor", "triton"]


def test_it_imports_no_torch(saved: Site) -> None:
    assert examined(saved.host("host"), B10_CACHE_LOAD="0")


def test_a_machine_without_a_folder_for_temporary_files_is_looked_at(
    saved: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(saved)
    become(saved.host("host"), monkeypatch, LOCAL_WORK_DIR=None)
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    findings = examine()
    finding, *others = [item for item in findings if item.is_problem]
    assert finding.code == "settings.work_folder"
    assert [item.code for item in others] == ["stored.damaged"]
    assert "LOCAL_WORK_DIR" in finding.advice


def test_where_settings_cannot_be_read_at_all_that_is_the_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Settings, "from_environment", nowhere)
    assert [item.code for item in examine()] == ["settings.work_folder"]


def nowhere(_: object = None) -> Settings:
    raise FileNotFoundError("no usable temporary directory found")
