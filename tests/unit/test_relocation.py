from __future__ import annotations

import json

import pytest

from b10_transfer.caches.relocation import canonical_group, group_children, is_group, restore_group

CHILDREN = ["kernel.cubin", "kernel.json", "kernel.ptx"]


def group(folder: str, children: list[str] = CHILDREN) -> bytes:
    return json.dumps({"child_paths": {name: f"{folder}/{name}" for name in children}}).encode()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("triton/0/HASH/__grp__kernel.json", True),
        ("__grp__k.json", True),
        ("triton/0/HASH/kernel.json", False),
        ("__grp__k.txt", False),
        ("__grp__/k.json", False),
        ("x__grp__k.json", False),
    ],
)
def test_a_group_is_known_by_its_name(path: str, expected: bool) -> None:
    assert is_group(path) is expected


def test_the_canonical_bytes_are_the_same_wherever_the_kernel_was_compiled() -> None:
    here = canonical_group(group("/tmp/torchinductor_ann/triton/0/HASH"))  # noqa: S108  # not used
    there = canonical_group(group("/var/a folder/ü", CHILDREN[::-1]))
    assert here == there
    assert b"ann" not in here


def test_a_group_compiled_on_windows_is_the_same_too() -> None:
    paths = {name: f"C:\\cache\\HASH\\{name}" for name in CHILDREN}
    data = json.dumps({"child_paths": paths}).encode()
    assert canonical_group(data) == canonical_group(group("/elsewhere"))


def test_the_restored_group_names_the_files_of_the_new_folder() -> None:
    restored = restore_group(canonical_group(group("/old")), "/new/folder with spaces")
    assert json.loads(restored) == json.loads(group("/new/folder with spaces"))


def test_canonical_bytes_are_their_own_canonical_form_and_restoring_is_undone_by_it() -> None:
    canonical = canonical_group(group("/old"))
    assert canonical_group(canonical) == canonical
    assert canonical_group(restore_group(canonical, "/new")) == canonical


def test_a_group_of_thousands_of_files_is_no_kernels() -> None:
    """Restored, each of them would take as many bytes as its folder's name."""
    with pytest.raises(ValueError, match="a group of 2000 files"):
        group_children(json.dumps({"child_paths": {f"{n}": f"/{n}" for n in range(2000)}}).encode())


def test_a_group_of_no_files_is_a_group() -> None:
    assert group_children(group("/x", [])) == []
    assert restore_group(canonical_group(group("/x", [])), "/y") == group("/y", [])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"{}",
        b'{"child_paths": []}',
        b'{"child_paths": {"a": 1}}',
        b'{"child_paths": {"a": null}}',
        b'{"child_paths": {"a": "/folder/b"}}',
        b'{"child_paths": {"a": "/folder/a"}, "more": 1}',
        b'{"child_paths": {"a": "/folder/a"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_group_is_refused(data: bytes) -> None:
    for use in (group_children, canonical_group):
        with pytest.raises(ValueError):  # noqa: PT011  # the message is for people
            use(data)
    with pytest.raises(ValueError):  # noqa: PT011  # as above
        restore_group(data, "/new")


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "sub/file"])
def test_a_child_that_lies_in_another_folder_is_refused(name: str) -> None:
    data = json.dumps({"child_paths": {name: f"/folder/{name}"}}).encode()
    with pytest.raises(ValueError, match="not at a path of that name"):
        restore_group(data, "/new")
