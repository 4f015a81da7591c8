"""Other users' files and folders, and stores that cannot be written."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.support.cache_trees import compiled_graph, snapshot
from tests.support.crowd import OTHER_USER, Act, run_one
from tests.support.other_users import needs_another_user

if TYPE_CHECKING:
    from tests.support.sites import Host, Site

TREE = compiled_graph("model")
MORE = compiled_graph("another model", 1)


def give_away(host: Host) -> Host:
    """Make everything of a host the other user's."""
    host.variables()
    for folder, folders, files in os.walk(host.folder):
        for name in ["", *folders, *files]:
            os.chown(os.path.join(folder, name), OTHER_USER, OTHER_USER)
    return host


@needs_another_user
def test_defect_13_what_root_saved_under_any_umask_another_user_loads(open_site: Site) -> None:
    open_site.store.mkdir(mode=0o755)
    saver = open_site.host("saver", TREE)
    assert run_one(Act("save", saver.variables(), umask=0o077)).status == "SUCCESS"
    loader = give_away(open_site.host("loader"))
    result = run_one(Act("load", loader.variables(), user=OTHER_USER))
    assert (result.status, result.error) == ("SUCCESS", "")
    assert loader.tree() == TREE


@needs_another_user
def test_defect_13_loaded_files_are_the_loaders_own_and_carry_no_special_modes(
    open_site: Site,
) -> None:
    saver = open_site.host("saver", TREE)
    special, ordinary = sorted(path for path in TREE if not path.startswith(("fx", "aot")))
    (saver.root / special).chmod(0o6775)
    os.chown(saver.root / special, 1234, 1234)
    (saver.root / special).chmod(0o6775)
    saver.save()
    loader = give_away(open_site.host("loader"))
    assert run_one(Act("load", loader.variables(), user=OTHER_USER)).status == "SUCCESS"
    modes = {path: (loader.root / path).stat() for path in (special, ordinary)}
    assert {status.st_uid for status in modes.values()} == {OTHER_USER}
    assert stat.S_IMODE(modes[special].st_mode) == 0o755
    assert stat.S_IMODE(modes[ordinary].st_mode) == 0o644


@needs_another_user
def test_defect_14_a_store_of_another_user_loads_without_the_right_to_write(
    open_site: Site,
) -> None:
    open_site.host("saver", TREE).save()
    before = snapshot(open_site.store)
    loader = give_away(open_site.host("loader"))
    assert run_one(Act("load", loader.variables(), user=OTHER_USER)).status == "SUCCESS"
    assert loader.tree() == TREE
    assert run_one(Act("save", loader.variables(), user=OTHER_USER)).status == "SKIPPED"
    give_away(open_site.host("loader", MORE))
    refused = run_one(Act("save", loader.variables(), user=OTHER_USER))
    assert refused.status == "ERROR"
    assert "Permission denied" in refused.error
    assert str(open_site.store) in refused.error
    assert snapshot(open_site.store) == before


@needs_another_user
@pytest.mark.parametrize("operation", ["load", "save"])
def test_a_store_that_may_not_even_be_read_is_an_error_that_names_it(
    open_site: Site, operation: str
) -> None:
    open_site.host("saver", TREE).save()
    open_site.store.chmod(0o700)
    host = give_away(open_site.host("host", MORE))
    result = run_one(Act(operation, host.variables(), user=OTHER_USER))
    assert result.status == "ERROR"
    assert "Permission denied" in result.error
    assert str(open_site.store) in result.error


@needs_another_user
def test_a_root_that_may_not_be_written_is_an_error_that_names_it(open_site: Site) -> None:
    open_site.host("saver", TREE).save()
    host = open_site.host("host", {"of/root.py": b""})
    result = run_one(Act("load", host.variables(), user=OTHER_USER))
    assert result.status == "ERROR"
    assert "Permission denied" in result.error
    assert str(host.root) in result.error
