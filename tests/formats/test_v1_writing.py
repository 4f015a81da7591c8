"""What is written does not change while the version does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import zstandard

from b10_store.digest import digest_of
from b10_store.format.names import FORMAT_VERSION
from b10_transfer.caches.relocation import canonical_group, restore_group
from tests.formats import make_v1
from tests.formats.make_v1 import CANONICAL_GROUP, SECRET
from tests.support.format_views import view_manifest, view_pack

GOLDEN = Path(__file__).parent / f"v{FORMAT_VERSION}" / "store"
CHANGED = (
    "what is written changed: raise FORMAT_VERSION, write the new format down in docs/format.md, "
    "and make golden files of it beside the old ones, which stay as they are"
)


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden store as today's code writes it."""
    folder = tmp_path_factory.mktemp("today")
    make_v1.make(folder)
    return folder


def names(store: Path, folder: str) -> list[str]:
    place = store / folder
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def views_of_packs(store: Path) -> list[dict[str, object]]:
    views = [view_pack(path.read_bytes()) for path in (store / "packs").iterdir()]
    return sorted(views, key=lambda view: str(view["raw"]))


def test_this_version_has_golden_files() -> None:
    assert GOLDEN.is_dir(), CHANGED


def test_the_format_line_is_written_as_ever(today: Path) -> None:
    assert (today / "FORMAT").read_bytes() == (GOLDEN / "FORMAT").read_bytes(), CHANGED


def test_names_are_made_as_ever(today: Path) -> None:
    assert names(today, "manifests") == names(GOLDEN, "manifests"), CHANGED
    assert names(today, "sessions") == names(GOLDEN, "sessions"), CHANGED
    for path in (today / "packs").iterdir():
        assert path.name == f"{digest_of(path.read_bytes())}.pack", CHANGED


def test_packs_are_written_as_ever(today: Path) -> None:
    assert views_of_packs(today) == views_of_packs(GOLDEN), CHANGED


@pytest.mark.parametrize("name", names(GOLDEN, "manifests"))
def test_manifests_are_written_as_ever(today: Path, name: str) -> None:
    key = SECRET if "signed" in name else None
    written, golden = ((store / "manifests" / name).read_bytes() for store in (today, GOLDEN))
    new, old = view_manifest(written, key), view_manifest(golden, key)
    # A field of the header may come to the others; none may go or change.
    assert new.pop("header").items() >= old.pop("header").items(), CHANGED
    assert new == old, CHANGED


def test_frames_are_written_without_a_checksum_or_a_dictionary(today: Path) -> None:
    for path in (today / "packs").iterdir():
        frame = zstandard.get_frame_parameters(path.read_bytes())
        assert (frame.has_checksum, frame.dict_id) == (False, 0), CHANGED


def test_a_triton_group_has_the_canonical_form_as_ever() -> None:
    on_disk = b'{"child_paths": {"add.json": "/tmp/a/add.json", "add.cubin": "/tmp/a/add.cubin"}}'
    assert canonical_group(on_disk) == CANONICAL_GROUP, CHANGED
    restored = restore_group(CANONICAL_GROUP, "/elsewhere")
    assert b'"add.cubin": "/elsewhere/add.cubin"' in restored
