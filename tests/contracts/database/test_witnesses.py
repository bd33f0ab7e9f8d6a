"""Witnesses of the Merkle log on every engine: what they cosigned is kept once, and what they saw is not forgotten."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from control_plane.checkpoints.guard import LogGuard, Marks
from control_plane.checkpoints.mark import MarkFile
from control_plane.checkpoints.rows import newest_statement
from control_plane.db.engine import close_database
from control_plane.keys import store
from control_plane.settings import Witnessing
from control_plane.witnesses.gathering import CosignatureRefused, Gathering
from control_plane.witnesses.rounds import Rounds
from control_plane.witnesses.serving import OthersWitness
from control_plane.witnesses.showing import WitnessShowing
from control_plane.witnesses.submission import SizeDiffers
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.tlog.checkpoint import TreeHead, claimed_head, sign_checkpoint
from shared.audit.tlog.keys import KeyType, NoteSigner
from shared.audit.tlog.note import Note, sign_note
from shared.audit.tlog.witness_key import sign_witness_key, witness_name
from shared.audit.tlog.witnessing import Cosigned
from tests.contracts.database.originals import Place
from tests.control_plane.vault.bench import Bench
from tests.control_plane.witnesses.logs import OtherLog


def test_a_host_cosigns_and_what_it_saw_stops_issuing_until_a_person_accepts_it(bench: Bench) -> None:
    host, key, clock = bench.enrol(), bench.journal.sequencer.key, bench.clock
    bench.journal.record(Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS))
    gathering = Gathering(bench.database, bench.journal, bench.evidence, key, clock)
    journal = bench.keys.signer(store.JOURNAL).public
    showing = WitnessShowing(bench.database, key, Witnessing(), bench.keys.witness_signer, journal, clock)
    name = witness_name(host.host_id)
    signer = NoteSigner(name, Ed25519PrivateKey.generate(), KeyType.COSIGNATURE)
    shown = Note.parse(Rounds(bench.database, clock).current().note)

    def sent(note: Note, later: int) -> bytes:
        seconds = int((clock.now() + timedelta(seconds=later)).timestamp())
        both = (*note.signatures, *sign_note(note.text, signer, seconds=seconds).signatures)
        return Cosigned(
            sign_witness_key(host.signer, host.host_id, signer.public), Note(note.text, both).encode()
        ).encode()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: gathering.take_of_host(host.host_id, sent(shown, 0)), range(4)))
    gathering.take_of_host(host.host_id, sent(shown, 5))
    with pytest.raises(CosignatureRefused, match="a later one"):
        gathering.take_of_host(host.host_id, sent(shown, 4))
    assert [one.name for one in Note.parse(showing.cosigned()).signatures] == [key.name, name]
    assert (bench.events().count(Event.WITNESS_KNOWN), bench.events()[-1]) == (1, Event.COSIGNATURE_REFUSED)

    marks = Marks(MarkFile(bench.folder / "log.mark"), MarkFile(bench.folder / "log.head"))
    guard = LogGuard(bench.database, bench.journal, bench.keys.signer(store.JOURNAL).public, key, marks, clock)
    with bench.database() as session:
        signed = newest_statement(session)
    assert signed is not None
    head = TreeHead(key.name, claimed_head(shown.encode()).size + 40, bytes(32))
    guard.seen(str(host.host_id), signed, sign_checkpoint(head, bench.keys.log_signer()))
    assert f"{host.host_id} saw {head.size} entries of the Merkle log, root {'00' * 32}" in guard.gaps()[0]
    assert guard.accept("ada", "ticket 9").tree == head.size
    assert guard.gaps() == []


def test_two_workers_cosign_no_two_views_of_anothers_log(bench: Bench, place: Place) -> None:
    other, log = Bench(bench.folder, url=place.url), OtherLog()
    bench.keys.witness_signer()
    workers = [
        OthersWitness(one.database, one.journal, [log.signer.public], one.keys.witness_signer, one.clock)
        for one in (bench, other)
    ]
    workers[0].add(log.request(0, 5))

    def ask(number: int) -> bool:
        try:
            workers[number % 2].add(log.request(5, 9) if number < 4 else log.request(5, 7))
        except SizeDiffers:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 1
    close_database(other.database)
