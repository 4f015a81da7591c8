from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from b10_transfer.cache_roots import (
    ROOT_KINDS,
    CacheRoot,
    RootKind,
    default_inductor,
    folders_of_others,
    is_below,
    resolve_inductor,
    resolve_roots,
    resolve_triton,
)
from tests.support.programs import run_python
from tests.support.sites import Host

if TYPE_CHECKING:
    from pathlib import Path

ASK_THE_COMPILERS = """
import json, os, sys, tempfile
from torch._inductor.runtime.cache_dir_utils import cache_dir
try:
    import triton
except ImportError:
    triton = None

answers = []
for variables in json.loads(sys.argv[1]):
    for name in list(os.environ):
        if name not in ("PATH", "PYTHONPATH"):
            del os.environ[name]
    os.environ.update(variables)
    tempfile.tempdir = None
    inductor = cache_dir()
    answers.append([inductor, triton.knobs.cache.dir if triton else None])
print(json.dumps(answers))
"""


def test_the_table_has_a_row_for_inductor_and_one_for_triton() -> None:
    assert [kind.name for kind in ROOT_KINDS] == ["inductor", "triton"]


@pytest.mark.torch
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_the_folders_are_those_that_the_compilers_themselves_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, home = str(tmp_path / "tmp"), str(tmp_path / "home")
    host = Host(tmp_path / "store", tmp_path)
    own = host.variables()
    base = {"TMPDIR": temporary, "HOME": home}
    cases = [
        base,
        {**base, "USER": "bob"},
        {**base, "LOGNAME": "ann", "USER": "bob"},
        {**base, "USER": 'do/main\\u:s*e?r"<n>|'},
        {**base, "LNAME": "lname", "USERNAME": "username"},
        {**base, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "chosen")},
        {**base, "TRITON_CACHE_DIR": str(tmp_path / "chosen")},
        {**base, "TRITON_HOME": str(tmp_path / "chosen")},
        {**base, "TRITON_HOME": "", "USER": "bob"},
        {"HOME": home, "TMP": temporary, "USER": "bob"},
        {"HOME": home, "TMPDIR": str(tmp_path / "absent"), "TEMP": temporary, "USER": "bob"},
    ]
    code = f"import sys; sys.argv[1:] = [{json.dumps(cases)!r}]\n{ASK_THE_COMPILERS}"
    # Triton looks at HOME when it is imported, and at the other variables each time. Both are
    # asked in the same folder, since an empty variable leads there.
    monkeypatch.chdir("/")
    done = run_python(code, {**own, "HOME": home}, warnings="ignore")
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    for variables, (inductor, triton) in zip(cases, answers, strict=True):
        assert resolve_inductor(variables) == inductor, variables
        if triton is not None:
            assert resolve_triton(variables) == os.path.abspath(triton), variables


def test_a_relative_folder_is_resolved_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_inductor({"TORCHINDUCTOR_CACHE_DIR": "cache"}) == str(tmp_path / "cache")
    assert resolve_triton({"TRITON_CACHE_DIR": "cache"}) == str(tmp_path / "cache")


def test_a_temporary_folder_that_cannot_be_used_is_passed_over(tmp_path: Path) -> None:
    variables = {"TMPDIR": str(tmp_path / "absent"), "TEMP": str(tmp_path), "USER": "bob"}
    assert default_inductor(variables) == str(tmp_path / "torchinductor_bob")
    nothing = default_inductor({"USER": "bob"})
    assert nothing == os.path.join(tempfile.gettempdir(), "torchinductor_bob")


@pytest.mark.parametrize("inside", ["", "/triton", "/triton/0"])
def test_a_triton_folder_that_inductor_chose_below_its_own_counts_as_not_chosen(
    inside: str,
) -> None:
    variables = {
        "TORCHINDUCTOR_CACHE_DIR": "/data/inductor",
        "TRITON_CACHE_DIR": "/data/inductor" + inside,
        "HOME": "/home/ann",
    }
    assert resolve_triton(variables) == "/home/ann/.triton/cache"
    variables["TRITON_CACHE_DIR"] = "/data/inductor2/triton"
    assert resolve_triton(variables) == "/data/inductor2/triton"


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("/a/b", "/a", True),
        ("/a", "/a", True),
        ("/a/b", "/a/", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/a", "/", True),
        ("/", "/a", False),
    ],
)
def test_a_folder_is_below_another_by_whole_components(
    path: str, folder: str, expected: bool
) -> None:
    assert is_below(path, folder) is expected


def fixed(name: str, folder: str) -> CacheRoot:
    return CacheRoot(RootKind(name, lambda _: folder), folder)


def test_a_root_belongs_to_itself_and_the_folders_of_all_others_do_not() -> None:
    inner, outer = fixed("inner", "/data/outer/inner"), fixed("outer", "/data/outer")
    beside, same = fixed("beside", "/data/outer2"), fixed("same", "/data/outer")
    roots = [inner, outer, beside, same]
    assert folders_of_others(outer, roots) == {"/data/outer/inner", "/data/outer2"}
    assert folders_of_others(inner, roots) == {"/data/outer", "/data/outer2"}


def test_a_folder_that_two_kinds_have_in_common_is_one_root() -> None:
    kinds = [RootKind("first", lambda _: "/data"), RootKind("second", lambda _: "/data")]
    assert [root.folder for root in resolve_roots({}, kinds)] == ["/data"]


def test_every_root_is_resolved_whether_it_exists_or_not() -> None:
    variables = {"TORCHINDUCTOR_CACHE_DIR": "/nowhere/inductor", "TRITON_HOME": "/nowhere"}
    assert {root.name: root.folder for root in resolve_roots(variables)} == {
        "inductor": "/nowhere/inductor",
        "triton": "/nowhere/.triton/cache",
    }
