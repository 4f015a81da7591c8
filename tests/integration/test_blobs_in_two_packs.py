"""A blob that two savers, who did not know of each other, stored in a pack each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_transfer import LoadReport, OperationStatus, Settings, load, save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def host(place: Path, root: str) -> Settings:
    return Settings.from_environment(
        {
            "BASETEN_FS_ENABLED": "1",
            "B10FS_CACHE_DIR": str(place / "store"),
            "TORCHINDUCTOR_CACHE_DIR": str(place / root),
            "HOME": str(place),
            "LOCAL_WORK_DIR": str(place),
        }
    )


def write(place: Path, root: str, *names: str) -> None:
    (place / root / "ab").mkdir(parents=True)
    for name in names:
        (place / root / "ab" / name).write_text(name * 100)


def only_file(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def store_twice(place: Path) -> list[Path]:
    """Two unrelated heads; returns their packs, the older head's first."""
    write(place, "first", "shared.py")
    write(place, "second", "shared.py", "more.py")
    save(host(place, "first"))
    older = only_file(place / "store" / "packs")
    manifest = only_file(place / "store" / "manifests")
    hidden = manifest.rename(place / manifest.name)
    save(host(place, "second"))
    hidden.rename(manifest)
    return sorted((place / "store" / "packs").iterdir(), key=lambda pack: pack != older)


def damage(pack: Path) -> None:
    data = bytearray(pack.read_bytes())
    data[:32] = bytes(32)
    pack.write_bytes(data)


def remove(pack: Path) -> None:
    pack.unlink()


def load_fresh(place: Path) -> LoadReport:
    return load(host(place, "fresh"))


@pytest.mark.parametrize("harm", [damage, remove])
@pytest.mark.parametrize("which", [0, 1], ids=["older", "younger"])
def test_what_one_pack_has_not_comes_from_the_other(
    tmp_path: Path, harm: Callable[[Path], None], which: int
) -> None:
    packs = store_twice(tmp_path)
    assert len(packs) == 2
    harm(packs[which])
    report = load_fresh(tmp_path)
    assert report.status is OperationStatus.SUCCESS
    assert (tmp_path / "fresh" / "ab" / "shared.py").read_text() == "shared.py" * 100
    assert report.unavailable == which, "only the younger pack has something of its own"
