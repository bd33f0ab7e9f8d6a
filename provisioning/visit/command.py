"""`leadglass-provision visit`, `enrol` and `pin-console`: what a person types, and what it says."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning import site_options
from provisioning.command import OK, REFUSED, Commands
from provisioning.layout import ACCOUNT
from shared.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from provisioning.visit.record import VisitRecord
    from provisioning.visit.step import Step
    from provisioning.visit.store import VisitStore

_VISIT = """\
Do the whole visit: every step in order, as root, at the machine. What each step said is kept in
/var/lib/leadglass-provision/visit.json. Cut off or broken at any moment, the same command without any option goes on
at the step that broke. The enrolment code is asked for (typed, pasted, scanned, or on stdin) and stored nowhere.
"""
_ONE = "The step {0} of a visit alone, as `leadglass-provision visit --only {0}` does it."
_STEPS = {"enrol": "give this host its identity, with a one-time code", "pin-console": "have the console work always"}


class NotRoot(Refused):
    def __init__(self) -> None:
        super().__init__("a visit changes this machine, which only root may: run the same line with sudo")


class TakenAway(Refused):
    def __init__(self) -> None:
        super().__init__("what the visit recorded here installed was taken away since; --new begins another one")


def add_to(commands: Commands) -> None:
    """Add `visit` and its steps to the commands of `leadglass-provision`."""
    visit = commands.add_parser("visit", help="all steps in order; goes on where it was", description=_VISIT)
    which = visit.add_mutually_exclusive_group()
    which.add_argument("--from", dest="first", metavar="STEP", help="repeat this step and all that come after it")
    which.add_argument("--only", metavar="STEP", help="repeat this step alone")
    visit.add_argument("--new", action="store_true", help="put the record of the last visit aside and begin another")
    site_options.add_to(visit)
    visit.set_defaults(run=_run)
    visit.add_argument("--account", default=ACCOUNT, help=argparse.SUPPRESS)
    for step, what in _STEPS.items():
        one = commands.add_parser(step, help=what, description=_ONE.format(step))
        site_options.add_to(one)
        one.add_argument("--account", default=ACCOUNT, help=argparse.SUPPRESS)
        one.set_defaults(run=_run, first=None, only=step, new=False)


def _run(options: argparse.Namespace) -> int:
    from provisioning.visit.conductor import Conductor
    from provisioning.visit.plan import plan
    from provisioning.visit.programs import Programs
    from provisioning.visit.step import Context, Places
    from provisioning.visit.steps import steps as steps_of
    from provisioning.visit.store import VisitStore
    from shared.clock import SystemClock

    if options.root == Path("/") and os.geteuid() != 0:
        raise NotRoot
    places, clock = Places(options.root, options.account), SystemClock()
    store = VisitStore(places.own)
    with store.alone(lambda: _say("waiting for what another visit, or one that was cut off, has begun to end")) as lock:
        record = _record(options, store, clock.now())
        steps = steps_of(record.site)
        todo = plan([step.name for step in steps], record, first=options.first, only=options.only)
        context = Context(record.site, places, Programs(places.account, lock), clock, _ask)
        doing = [step for step in steps if step.name in todo]
        record = Conductor(store, context, _say).conduct(doing, record)
        return _ended(doing if options.only else steps, record, store)


def _record(options: argparse.Namespace, store: "VisitStore", now: "datetime") -> "VisitRecord":
    """Return the record that this visit goes on from, with the site as it is described now."""
    from dataclasses import replace

    from provisioning.install.local import LocalFiles
    from provisioning.site import joined
    from provisioning.visit.record import State, VisitRecord
    from provisioning.visit.store import OtherVisit

    given = site_options.given(options)
    if options.new:
        fresh = VisitRecord(joined(*given), now)
        if (aside := store.put_aside()) is not None:
            _say(f"the record of the last visit is {aside}")
        return fresh
    record = store.load()
    if record is None:
        return VisitRecord(joined(*given), now)
    if record.state("install") is State.DONE and not LocalFiles(options.root).noted().parts:
        raise TakenAway
    site = joined(record.site.json(), *given)
    if site.asset != record.site.asset:
        raise OtherVisit(record.site.asset, site.asset)
    return replace(record, site=site)


def _ended(steps: "Sequence[Step]", record: "VisitRecord", store: "VisitStore") -> int:
    from provisioning.visit.conductor import is_whole, unproved

    if not is_whole(steps, record):
        _say("when that is mended: leadglass-provision visit")
        return REFUSED
    left = unproved(steps, record)
    names = ", ".join(step.name for step in steps)
    _say(f"done: {names} ({store.file})" + f"; not proved: {', '.join(one.check for one in left)}" * bool(left))
    return REFUSED if left else OK


def _ask(question: str) -> str:
    if sys.stdin.isatty():
        sys.stderr.write(question)
        sys.stderr.flush()
    return sys.stdin.readline().strip()


def _say(line: str) -> None:
    print(line, flush=True)
