"""A centre that witnesses others' logs, and a log of ours that asks a witness."""

import http.client
import sqlite3
import ssl
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.keys import store
from control_plane.settings import AskedWitness, Witnessing
from control_plane.witnesses.asking import Post, WitnessAsking
from control_plane.witnesses.gathering import Gathering
from control_plane.witnesses.rounds import Rounds
from control_plane.witnesses.showing import WitnessShowing
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.tlog.keys import NoteKey
from shared.clock import SystemClock
from tests.control_plane.checkpoints.ward import Ward
from tests.control_plane.vault.bench import Bench
from tests.control_plane.witnesses.logs import OtherLog
from tests.fakes.clock import FakeClock


@dataclass
class Site:
    """A centre that witnesses the log `other`."""

    ward: Ward
    other: OtherLog
    context: ssl.SSLContext

    @property
    def url(self) -> str:
        return str(self.ward.door.addresses["enrol_url"])

    @property
    def key(self) -> NoteKey:
        return self.ward.door.centre._keys.witness_signer().public

    def post(self, body: bytes) -> tuple[int, str, str]:
        connection = http.client.HTTPSConnection(self.url.removeprefix("https://"), context=self.context, timeout=30)
        connection.request("POST", "/add-checkpoint", body)
        answer = connection.getresponse()
        got = answer.status, answer.headers["Content-Type"], answer.read().decode()
        connection.close()
        return got


class Asking:
    """A log of ours that asks `site`."""

    def __init__(self, folder: Path, url: str, key: NoteKey, post: Post) -> None:
        self.bench, self.clock = Bench(folder), FakeClock(SystemClock().now())
        bench, clock = self.bench, self.clock
        settings = Witnessing(asked=(AskedWitness(url, key),), round_s=0)
        self.key = bench.journal.sequencer.key
        self.rounds = Rounds(bench.database, clock, 0)
        evidence = EvidenceKeys(bench.database, bench.ca.trust)
        self.gathering = Gathering(bench.database, bench.journal, evidence, self.key, clock)
        self.asking = WitnessAsking(bench.database, bench.journal, self.rounds, self.gathering, settings.asked, post)
        journal = bench.keys.signer(store.JOURNAL).public
        self.showing = WitnessShowing(bench.database, self.key, settings, bench.keys.witness_signer, journal, clock)

    def grow(self, count: int) -> None:
        for _ in range(count):
            self.bench.journal.record(Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS))

    @property
    def witness(self) -> dict[str, Any]:
        report: dict[str, Any] = self.showing.report()
        (one,) = report["witnesses"]
        return dict(one)


def copied(source: str | Path, target: str | Path) -> None:
    with closing(sqlite3.connect(source)) as held, closing(sqlite3.connect(target)) as made:
        held.backup(made)
