"""What looks after a store and can be struck by faults."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from b10_transfer.operations import upkeep
from tests.support import fault_upkeep_endings as endings
from tests.support import fault_upkeep_states as states
from tests.support.fault_upkeep_runs import Upkeep

if TYPE_CHECKING:
    from b10_transfer.settings import Settings


def _ask(settings: Settings) -> object:
    return upkeep.collect(settings, dry_run=True)


def _remove(settings: Settings) -> object:
    return upkeep.remove(states.SECOND, settings)


def _restore(settings: Settings) -> object:
    return upkeep.restore(states.SECOND, settings)


def _ask_for_addresses(settings: Settings) -> object:
    return upkeep.addresses(settings), upkeep.addresses(settings, in_trash=True)


_ENDS = (endings.saver_goes_on_at_once,)
_GOES_ON = (
    *_ENDS,
    endings.saver_goes_on_in_between,
    endings.saver_goes_on_after_all,
    endings.saver_wakes_up,
)
_HEALS = (endings.everything_goes_on,)
_IS_BACK = (endings.put_back, endings.everything_goes_on)

_read_data = functools.partial(upkeep.check, read_data=True)
_repair = functools.partial(upkeep.check, read_data=True, repair=True)

VISIT = Upkeep("visit", states.every_stage, upkeep.collect, _GOES_ON)
REWRITE = Upkeep("visit that rewrites", states.half_dead, upkeep.collect, _ENDS)
REPAIR = Upkeep("repair", states.damaged, _repair, _HEALS)
REMOVAL = Upkeep("removal", states.to_be_removed, _remove, _IS_BACK)
RESTORING = Upkeep("restoring", states.to_be_restored, _restore, _IS_BACK)
WITNESSING = Upkeep("visit that witnesses", states.witnessing_a_saver, upkeep.collect, _GOES_ON)
OPERATIONS = (
    VISIT,
    WITNESSING,
    Upkeep("visit that witnesses nobody", states.witnessing_nobody, upkeep.collect, _ENDS),
    Upkeep("visit that fences nobody", states.fencing_nobody, upkeep.collect, _ENDS),
    Upkeep("visit that sweeps", states.leftovers, upkeep.collect, _GOES_ON),
    REWRITE,
    Upkeep("dry run", states.every_stage, _ask, _GOES_ON, is_question=True),
    Upkeep("check", states.damaged, upkeep.check, _HEALS, is_question=True),
    Upkeep("check of the data", states.damaged, _read_data, _HEALS, is_question=True),
    REPAIR,
    REMOVAL,
    RESTORING,
    Upkeep("addresses", states.to_be_restored, _ask_for_addresses, _IS_BACK, is_question=True),
)
