"""Whether what the upkeep of a store tells its user is true."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from b10_store.check.check import CheckReport
from b10_store.check.damage import Damage
from b10_store.digest import digest_of
from b10_store.format.names import pack_id_of, parse_pack_name
from b10_store.gc.remove import Restored
from b10_store.gc.report import GcReport
from b10_store.remote.folder_names import MANIFESTS, PACKS, SESSIONS, TRASH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from b10_store.check.damage import Fault
    from tests.support.fault_upkeep_runs import Outcome
    from tests.support.fault_upkeep_states import Expectation

Names = frozenset[str]


def judge_visit(_: Expectation, outcome: Outcome) -> Iterator[str]:
    """A visit counts what it did, and does nothing where it refuses to."""
    report = outcome.report
    if not isinstance(report, GcReport):
        return
    if not report.is_complete:
        yield "there was time enough"
    facts = _Facts(outcome.before, outcome.after)
    if not report.refused:
        yield from _judge_counts(report, facts, outcome)
        return
    # Stages go on, but nothing may be concluded from the manifests.
    if facts.condemned or facts.freed or facts.restored or facts.new_manifests:
        yield f"it refused and did {facts.condemned} {facts.freed} {facts.restored}"
    if outcome.usual is None:
        yield "it refused"


def judge_rewrite(expected: Expectation, outcome: Outcome) -> Iterator[str]:
    """As any visit; and what could not be written anew was not published."""
    report = outcome.report
    if isinstance(report, GcReport) and report.unwritten:
        new = outcome.after.keys() - outcome.before.keys()
        # What is done and neither told nor shown, nobody can know.
        if any(name.startswith(f"{MANIFESTS}/") for name in new) and not outcome.faults.hides:
            yield "it says that it failed, and published"
        # The new packs of a rewrite that failed are nobody's, and no news of the report's.
        kept = {name: data for name, data in outcome.after.items() if name not in new}
        outcome = dataclasses.replace(outcome, after=kept)
    yield from judge_visit(expected, outcome)


def judge_question(_: Expectation, outcome: Outcome) -> Iterator[str]:
    """Asking changes nothing, and the answer is what a visit would do."""
    yield from _unchanged(outcome)
    report, usual = outcome.report, outcome.usual
    if not isinstance(report, GcReport) or usual is None or outcome.faults.deceive:
        return
    if not report.refused and report != usual.report:
        yield f"the answer is not {usual.report}"


def judge_check(expected: Expectation, outcome: Outcome) -> Iterator[str]:
    """A check changes nothing and finds what is wrong, and nothing else."""
    yield from _unchanged(outcome)
    yield from _judge_findings(expected, outcome)


def judge_repair(expected: Expectation, outcome: Outcome) -> Iterator[str]:
    """A repair finds the same, does what it says, and leaves alone what is not damaged."""
    yield from _judge_findings(expected, outcome)
    report = outcome.report
    if isinstance(report, CheckReport):
        for fault in report.faults:
            yield from _judge_repaired(fault, outcome)
    if outcome.faults.blind:
        return
    for name, data in outcome.before.items():
        is_whole = name.startswith((f"{PACKS}/", f"{MANIFESTS}/")) and name not in expected.damaged
        if is_whole and outcome.after.get(name) != data:
            yield f"{name} was whole, and is not where it was"


def judge_removal(expected: Expectation, outcome: Outcome) -> Iterator[str]:
    """A removal tells how many manifests went, and then none is left."""
    facts = _Facts(outcome.before, outcome.after)
    if facts.condemned_packs:
        yield f"packs went: {facts.condemned_packs}"
    if not isinstance(outcome.report, int):
        return
    told, gone = outcome.report, len(facts.condemned)
    if told != gone and not (outcome.faults.deceive and told < gone):
        yield f"{gone} manifests went"
    left = _of_target(expected, outcome.after)
    if left and not outcome.faults.deceive:
        yield f"there are still {left}"


def judge_restoring(expected: Expectation, outcome: Outcome) -> Iterator[str]:
    """Undoing tells what came back; without a complaint that is everything there was."""
    report = outcome.report
    if not isinstance(report, Restored):
        return
    facts = _Facts(outcome.before, outcome.after)
    manifests = _of_target(expected, outcome.after)
    for what, told, fact in (
        ("manifests", report.manifests, len(manifests)),
        ("packs", report.packs, len(facts.restored)),
    ):
        if told != fact and not (outcome.faults.deceive and told < fact):
            yield f"{fact} {what} came back"
    if not manifests and not outcome.faults.deceive and not report.unusable:
        yield "nothing came back, and it does not say why"
    if (report.missing or report.unusable) and not outcome.faults.blind:
        yield "nothing was missing or damaged"


def _judge_counts(report: GcReport, facts: _Facts, outcome: Outcome) -> Iterator[str]:
    is_deceived = outcome.faults.deceive
    # A pack that is not seen in its place is put there once more.
    restored = facts.left_trash if is_deceived else facts.restored
    for what, told, fact in (
        ("packs condemned", report.condemned_packs, len(facts.condemned_packs)),
        ("manifests superseded", report.superseded, len(facts.condemned - facts.condemned_packs)),
        ("files freed", report.freed_files, len(facts.freed)),
        ("packs restored", report.restored, len(restored)),
        ("sessions fenced", report.fenced, len(facts.fenced)),
        ("bytes rewritten", report.rewritten_bytes, facts.new_bytes),
        ("files waiting", report.waiting_files, len(facts.waiting)),
    ):
        if told != fact and not (is_deceived and told < fact):
            yield f"{what}: {told} are told of, {fact} there were"
    if bool(facts.new_manifests) != bool(report.rewritten_bytes) and not is_deceived:
        yield f"{facts.new_manifests} were published"


def judge_answer(_: Expectation, outcome: Outcome) -> Iterator[str]:
    """An answer changes nothing, and is always the same."""
    yield from _unchanged(outcome)
    is_other = outcome.usual is not None and outcome.report != outcome.usual.report
    if outcome.error is None and is_other and not outcome.faults.deceive:
        yield "it is another answer"


def _is_pack(name: str, data: bytes) -> bool:
    return parse_pack_name(name.rpartition("/")[2]) == pack_id_of(digest_of(data))


class _Facts:
    """What became of the packs and manifests of a store."""

    def __init__(self, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
        trash, self.waiting = _in(before, TRASH), _in(after, TRASH)
        packs = _in(after, PACKS) - _in(before, PACKS)
        gone = (_in(before, PACKS) | _in(before, MANIFESTS)) - (
            _in(after, PACKS) | _in(after, MANIFESTS)
        )
        self.condemned = gone & self.waiting
        self.condemned_packs = frozenset(
            name for name in self.condemned if parse_pack_name(name) is not None
        )
        everywhere = {name.rpartition("/")[2] for name in after}
        self.freed = frozenset(name for name in trash if name not in everywhere)
        self.restored = packs & trash
        self.left_trash = (trash - self.waiting) & _in(after, PACKS)
        self.new_bytes = sum(len(after[f"{PACKS}/{name}"]) for name in packs - trash)
        self.new_manifests = _in(after, MANIFESTS) - _in(before, MANIFESTS) - trash
        self.fenced = _in(before, SESSIONS) - _in(after, SESSIONS)


def _in(files: Mapping[str, bytes], folder: str) -> Names:
    """The packs, manifests and sessions below a folder, without the folders of trash."""
    return frozenset(
        name.rpartition("/")[2]
        for name in files
        if name.startswith(f"{folder}/") and name.endswith((".pack", ".manifest", ".session"))
    )


def _of_target(expected: Expectation, files: Mapping[str, bytes]) -> list[str]:
    assert expected.target is not None
    prefix = f"{MANIFESTS}/{expected.target.host.address}~"
    return [name for name in files if name.startswith(prefix)]


def _unchanged(outcome: Outcome) -> Iterator[str]:
    if outcome.before != outcome.after:
        names = outcome.before.keys() ^ outcome.after.keys()
        yield f"it changed the store: {sorted(names)}"


def _judge_findings(expected: Expectation, outcome: Outcome) -> Iterator[str]:
    report = outcome.report
    if not isinstance(report, CheckReport):
        return
    found = {fault.name: fault for fault in report.faults}
    if len(found) != len(report.faults):
        yield "something is named twice"
    for name, fault in found.items():
        is_so = name in expected.damaged or fault.damage is Damage.UNREADABLE
        if not is_so and not outcome.faults.blind:
            yield f"{name} is not {fault.damage.value}"
    if outcome.usual is not None and isinstance(outcome.usual.report, CheckReport):
        yield from _judge_extent(report, outcome.usual.report, outcome)


def _judge_extent(report: CheckReport, usual: CheckReport, outcome: Outcome) -> Iterator[str]:
    if report.verified_bytes > usual.verified_bytes or report.packs > usual.packs:
        yield f"more is verified than is intact: {report.verified_bytes}"
    lacking = {fault.name for fault in usual.faults} - {fault.name for fault in report.faults}
    # What is wrong with the packs of a manifest that cannot be read, nobody knows.
    is_unread = any(fault.damage is Damage.UNREADABLE for fault in report.faults)
    if lacking and not (is_unread or outcome.faults.hides or outcome.faults.blind):
        yield f"it does not find {sorted(lacking)}"


def _judge_repaired(fault: Fault, outcome: Outcome) -> Iterator[str]:
    done, after = fault.repaired, outcome.after
    if done.startswith("put back from "):
        source = done.removeprefix("put back from ")
        data = after.get(fault.name)
        if data is None or source in after or not _is_pack(fault.name, data):
            yield f"{fault.name} was not put back"
    elif done.startswith("moved to "):
        target = done.removeprefix("moved to ").partition(";")[0]
        is_back = fault.name in after and outcome.faults.hides
        if (fault.name in after and not is_back) or after.get(target) != outcome.before[fault.name]:
            yield f"{fault.name} was not moved"
    elif done:
        yield f"what is {done!r}?"
