"""`leadglass-agent spool`: list, verify, retry and discard, beside a running agent or without one.

This module is imported for every `--help`, so what a command needs is imported where it is needed.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from shared.errors import IntegrityFailure, Malformed, Refused

if TYPE_CHECKING:
    from edge_agent.config import AgentFolder
    from edge_agent.spool.catalogue import CatalogueReader
    from edge_agent.spool.decisions import Decisions
    from edge_agent.spool.reader import SpoolReader
    from edge_agent.spool.whole import Keys

_SETTLE_S = 2.0
_TAKEN_UP = "an agent that runs here takes that up within a minute, any other when it starts"


class NotWhole(IntegrityFailure):
    def __init__(self, count: int) -> None:
        super().__init__(f"{count} of what lies here is not whole, or nobody can tell")
        self.count = count


class NothingSpooled(Refused):
    def __init__(self) -> None:
        super().__init__("no image was ever captured here, so there is nothing to decide on")


class NobodyReads(Refused):
    def __init__(self) -> None:
        super().__init__("whoever read this went away before its end")


def add_actions(actions: "argparse._SubParsersAction[argparse.ArgumentParser]", epilog: str) -> None:
    """Add what a person can do with a spool, each with `act`, which takes the agent's folder and the arguments."""
    listing = actions.add_parser("list", help="what lies here, in which state, and why", epilog=epilog)
    listing.add_argument("--json", action="store_true", help="one JSON object a line, for each object")
    listing.set_defaults(act=_list)

    verify = actions.add_parser(
        "verify",
        help="read what lies here and check it against what this host signed; exit code 1 if not all is whole",
        epilog=epilog,
    )
    verify.add_argument("objects", nargs="*", metavar="OBJECT", help="object ids or numbers; everything without any")
    verify.add_argument(
        "--json", action="store_true", help="one JSON object a line, for each object; counts at the end"
    )
    verify.set_defaults(act=_verify)

    retry = actions.add_parser("retry", help="have what was put aside delivered again", epilog=epilog)
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument("objects", nargs="*", default=[], metavar="OBJECT", help="object ids or numbers")
    which.add_argument("--all", action="store_true", help="everything that was put aside")
    retry.set_defaults(act=_retry)

    discard = actions.add_parser(
        "discard", help="give up for good what was put aside and is damaged; the vault may not have it", epilog=epilog
    )
    discard.add_argument("objects", nargs="+", metavar="OBJECT", help="object ids or numbers")
    discard.add_argument(
        "--reason", required=True, help="why; sealed into the audit record, beside your account's name"
    )
    discard.set_defaults(act=_discard)


@dataclass(frozen=True)
class _Reading:
    catalogue: "CatalogueReader"
    files: "SpoolReader"
    keys: "Keys"


def _list(folder: "AgentFolder", arguments: argparse.Namespace) -> None:
    from edge_agent.spool.attempts import begun
    from edge_agent.spool.listing import coming_in, listed
    from edge_agent.spool.telling import table

    with _reading(folder) as spool:
        # What was entered in the catalogue a moment ago may stand in both.
        ids = [name for name in begun(folder.spool / "attempts") if spool.catalogue.find(name) is None]
        rows = listed(spool.catalogue, spool.files, spool.keys)
        if arguments.json:
            _write(map(json.dumps, chain(map(coming_in, ids), (one.json() for one in rows))))
        else:
            _write(table(len(ids), rows))


def _verify(folder: "AgentFolder", arguments: argparse.Namespace) -> None:
    from edge_agent.courtesy import READING, Courtesy, courteously
    from edge_agent.examination import SeenFromBeside
    from edge_agent.spool import named
    from edge_agent.spool.quiet import step_back
    from edge_agent.spool.telling import json_lines, lines
    from edge_agent.spool.verifier import BAD, Finding, SpoolVerifier

    names = [named.parse(text) for text in arguments.objects]
    step_back()
    with _reading(folder) as spool:
        verifier = SpoolVerifier(spool.catalogue, spool.files, spool.keys, lambda: time.sleep(_SETTLE_S))
        results = map(verifier.result, named.rows(spool.catalogue, names)) if names else verifier.everything()
        found = Counter[Finding]()
        results = courteously(results, Courtesy(SeenFromBeside(spool.catalogue.last_number).ends_in_s, READING))
        _write((json_lines if arguments.json else lines)(results, found))
    if bad := sum(found[finding] for finding in BAD):
        raise NotWhole(bad)


def _retry(folder: "AgentFolder", arguments: argparse.Namespace) -> None:
    from edge_agent.beside import account
    from edge_agent.spool import named

    names = [named.parse(text) for text in arguments.objects]
    with _deciding(folder) as decisions:
        count = decisions.retry_all(account()) if arguments.all else decisions.retry(names, account())
    _write([f"{count} objects that were put aside wait for delivery again; {_TAKEN_UP}"])


def _discard(folder: "AgentFolder", arguments: argparse.Namespace) -> None:
    from edge_agent.beside import account
    from edge_agent.spool import named

    if not arguments.reason.strip():
        raise Malformed("reason", "it says nothing")
    names = [named.parse(text) for text in arguments.objects]
    with _deciding(folder) as decisions:
        count = decisions.discard(names, account(), arguments.reason)
    _write([f"{count} objects are given up for good; {_TAKEN_UP}"])


@contextmanager
def _reading(folder: "AgentFolder") -> "Iterator[_Reading]":
    """Yield what lies here, for reading only. Raises NotEnrolled, IdentityUnreadable, DatabaseUnavailable."""
    from edge_agent.config import load_identity
    from edge_agent.database import ReadingDatabase
    from edge_agent.moving.keys import keys_of_brought
    from edge_agent.spool.catalogue import CatalogueReader, NothingCatalogued
    from edge_agent.spool.reader import SpoolReader
    from edge_agent.spool.whole import either, own_key

    identity = load_identity(folder)
    files, keys = SpoolReader(folder.spool), own_key(identity.config.host_id, identity.signer.public)
    if not folder.database.exists():
        yield _Reading(CatalogueReader(NothingCatalogued()), files, keys)
        return
    with closing(ReadingDatabase(folder.database)) as database:
        keys = either(keys, keys_of_brought(database, identity.trust))
        yield _Reading(CatalogueReader(database if database.has("spooled") else NothingCatalogued()), files, keys)


@contextmanager
def _deciding(folder: "AgentFolder") -> "Iterator[Decisions]":
    from edge_agent.beside import opened
    from edge_agent.deliver.receipts import Receipts
    from edge_agent.forward.queue import ForwardQueue
    from edge_agent.spool.decisions import Decisions
    from edge_agent.spool.verifier import SpoolVerifier
    from shared.clock import SystemClock

    with _reading(folder) as spool:
        if not folder.database.exists():
            raise NothingSpooled
        clock = SystemClock()
        with opened(folder, clock) as beside:
            host_id = beside.enrolment.config.host_id
            yield Decisions(
                beside.database,
                beside.journal,
                host_id,
                judge=SpoolVerifier(spool.catalogue, spool.files, spool.keys, lambda: None).judge,
                has_receipt=Receipts(beside.database).holds,
                is_owed=ForwardQueue(beside.database, beside.journal, host_id, clock).holds,
            )


def _write(lines: Iterable[str]) -> None:
    """Write lines as they come, however many. Raises NobodyReads."""
    try:
        for line in lines:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError as exc:
        # The interpreter flushes once more when it ends, and nobody is to see that fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise NobodyReads from exc
