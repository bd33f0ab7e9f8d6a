"""Erasing somebody from the log, on every engine: what opens no more, is found no more, and that all proofs hold."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from control_plane.audit_log.finding import FoundRecord
from control_plane.audit_log.reading import BLIND_INDEX, CERTIFICATES, ChainState
from control_plane.backup import register
from control_plane.db.engine import close_database
from control_plane.db.models import AuditRow, BackupRow
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.erasure.erased_file import ErasedFile
from control_plane.erasure.erasing import ERASE, Erasing, SubjectUnknown
from control_plane.erasure.private_parts import State
from control_plane.erasure.resealing import Resealing
from control_plane.people.two_persons import Request
from shared.audit.events import Event
from shared.audit.question import Question
from shared.audit.record import StoredRecord, open_salted
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE, ObjectId
from shared.policy.document import KeyPurpose
from tests.contracts.database.day import AUDITOR, OTHER, PATIENT, PERSON, meeting, told
from tests.control_plane.vault.bench import ENTRY, Bench, HostBench


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Bench]:
    """For what no engine has a part in."""
    bench = Bench(tmp_path / "centre")
    yield bench
    close_database(bench.database)


def erasing(bench: Bench, file: Path | None = None) -> Erasing:
    erased = ErasedFile(file or bench.folder / "erased.json")
    return Erasing(bench.database, bench.journal, bench.private, erased, bench.clock)


def erase(bench: Bench, kind: str, value: str) -> str:
    act = erasing(bench)
    subject = act.erasable(kind, value).key_id
    now = bench.clock.now()
    request = Request("0" * 8, ERASE, subject, "asked for", "ada", now, now, None)
    in_one_commit(bench.database, lambda session: act.perform(session, request, "bob"))
    act.afterwards(subject)
    return subject


def states(bench: Bench) -> dict[str, State]:
    """Say of each record with a private part whether that opens, and open those that do."""
    found = dict[str, State]()
    with snapshot(bench.database) as session:
        for row in session.scalars(select(AuditRow).where(AuditRow.sealed.is_not(None)).order_by(AuditRow.entry)):
            opened = bench.private.open(session, StoredRecord(row.public, row.sealed))
            assert (opened.salted is None) == (opened.state is not State.OPENS)
            found[row.event or ""] = opened.state
    return found


def proved(bench: Bench) -> bool:
    """Whether every chain and the Merkle log hold; of the bench's own certificates the log has no record."""
    verdicts = bench.reading.verify(AUDITOR)
    del verdicts[CERTIFICATES]
    return {one.state for one in verdicts.values()} == {ChainState.VERIFIED}


def touching(bench: Bench, patient: str) -> tuple[FoundRecord, ...]:
    return bench.asking.who_touched(AUDITOR, patient).page.records


def test_what_names_a_patient_is_sealed_to_them_and_opens_by_no_key_of_all(local: Bench) -> None:
    told(local)

    assert set(states(local).values()) == {State.OPENS}
    pair = local.keys.sealing_pair(local.public(KeyPurpose.AUDIT).key_id)
    assert pair is not None
    key_of_all = pair[1]
    with snapshot(local.database) as session:
        for row in session.scalars(select(AuditRow).where(AuditRow.sealed.is_not(None))):
            with pytest.raises(Malformed, match="sealed box"):
                open_salted(StoredRecord(row.public, row.sealed), key_of_all)


def test_a_patient_who_is_erased_opens_nowhere_and_is_found_by_nothing_and_all_proofs_hold(host: HostBench) -> None:
    bench = host.bench
    bench.finder.find(PERSON, patient_id=OTHER)
    before = bench.rows("SELECT entry, public, leaf FROM audit_records ORDER BY entry")

    erase(bench, "patient", PATIENT)

    assert states(bench) == {
        "capture.image-refused": State.ERASED, "vault.looked-up": State.OPENS, "vault.object-opened": State.ERASED,
    }  # fmt: skip
    assert touching(bench, PATIENT) == ()
    assert bench.asking.who_touched(AUDITOR, OTHER).objects == 1
    assert bench.finder.find(PERSON, patient_id=PATIENT) == ()
    assert proved(bench)
    assert bench.rows("SELECT entry, public, leaf FROM audit_records ORDER BY entry")[: len(before)] == before
    gone = bench.rows("SELECT public FROM audit_records WHERE event = 'keys.destroyed'")
    assert [PATIENT.encode() in row.public for row in gone] == [False] * len(gone) != []
    shown = {one.record.event: one.private for one in bench.asking.find(AUDITOR, Question(person=PERSON)).records}
    assert shown[Event.OBJECT_OPENED] is State.ERASED


def test_only_what_a_record_says_was_erased_may_be_missing_from_what_leads_to_patients(host: HostBench) -> None:
    bench = host.bench
    erase(bench, "patient", PATIENT)
    found = bench.reading.verify(AUDITOR)[BLIND_INDEX]
    assert (found.state, found.why) == (ChainState.VERIFIED, "images to which no patient leads, as after an erasure: 1")

    later = host.seal(b"later")
    bench.receive(later)
    bench.sql("DELETE FROM blind_index WHERE object_id = :name AND attribute IN ('patient_id', 'patient_name', "
              "'accession_number')", name=str(later.object_id))  # fmt: skip
    found = bench.reading.verify(AUDITOR)[BLIND_INDEX]
    assert (found.state, str(later.object_id) in found.why) == (ChainState.ALTERED, True)


def test_an_image_whose_name_meets_that_of_one_before_an_erasure_is_none_of_before(host: HostBench) -> None:
    bench, (before, name, *_) = host.bench, map(ObjectId.parse, meeting())
    bench.receive(host.seal(b"before", replace(ENTRY, patient_id=OTHER), object_id=before))
    erase(bench, "patient", PATIENT)

    later = host.seal(b"later", object_id=name)
    bench.receive(later)
    bench.sql("DELETE FROM blind_index WHERE object_id = :name AND attribute IN ('patient_id', 'patient_name', "
              "'accession_number')", name=str(name))  # fmt: skip
    found = bench.reading.verify(AUDITOR)[BLIND_INDEX]
    assert (found.state, str(name) in found.why) == (ChainState.ALTERED, True)


def test_an_image_of_before_an_erasure_is_one_where_its_record_no_longer_reads(host: HostBench) -> None:
    """Verification names that record, and no image beside it that nobody touched."""
    bench = host.bench
    erase(bench, "patient", PATIENT)
    bench.sql("UPDATE audit_records SET public = :nothing WHERE event = 'vault.object-stored'", nothing=b"{}")

    found = bench.reading.verify(AUDITOR)
    assert (found[BLIND_INDEX].state, found[CONTROL_PLANE].state) == (ChainState.VERIFIED, ChainState.ALTERED)


def test_a_key_that_a_row_alone_says_was_destroyed_was_taken_away(host: HostBench) -> None:
    bench = host.bench
    (key,) = bench.rows("SELECT key_id, since FROM subject_keys WHERE attribute = 'patient_id'")
    bench.sql("INSERT INTO destroyed (kind, name, since, destroyed, person) SELECT 'subject', key_id, since, since, "
              "'ada' FROM subject_keys WHERE key_id = :key", key=key.key_id)  # fmt: skip
    bench.sql("INSERT INTO audit_subjects VALUES ('subject', :key, 'keys.destroyed', 'control-plane', 1)",
              key=key.key_id)  # fmt: skip
    bench.sql("DELETE FROM subject_keys WHERE key_id = :key", key=key.key_id)

    found = bench.reading.verify(AUDITOR)[BLIND_INDEX]
    assert (found.state, key.key_id in found.why) == (ChainState.ALTERED, True)


def test_of_an_erased_key_no_byte_is_left_in_the_files_of_sqlite(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "centre")
    told(bench)
    keys = [row.sealed for row in bench.rows("SELECT sealed FROM subject_keys WHERE attribute = 'patient_id'")]

    def held() -> int:
        files = b"".join(path.read_bytes() for path in bench.folder.glob("leadglass.sqlite*"))
        return sum(key[20:] in files for key in keys)

    assert held() == len(keys) == 1
    erase(bench, "patient", PATIENT)
    assert held() == 0
    close_database(bench.database)


def test_a_person_who_is_erased_takes_their_reasons_with_them_and_a_patient_stays(local: Bench) -> None:
    told(local)

    erase(local, "person", PERSON)

    assert states(local)["vault.object-opened"] is State.ERASED
    assert states(local)["capture.image-refused"] is State.OPENS
    assert len(touching(local, PATIENT)) == 5


def test_an_erasure_names_the_copies_that_hold_the_key_still(local: Bench) -> None:
    told(local)
    now = local.clock.now()
    with local.database.begin() as session:
        for label, begun in (("before", now - timedelta(days=1)), ("since", now)):
            session.add(
                BackupRow(
                    label=label, place="/b", begun=begun, made=begun, audit_seq=1, objects=0, body_bytes=0, keys="[]"
                )
            )
    local.clock.advance(timedelta(seconds=1))

    assert [copy.label for copy in erasing(local).erasable("patient", PATIENT).copies] == ["since"]
    subject = erase(local, "patient", PATIENT)

    with snapshot(local.database) as session:
        assert {copy.label: f"subject {subject}" in copy.holds for copy in register.copies(session)} == {
            "before": False, "since": True,
        }  # fmt: skip


def test_a_key_that_a_restored_database_brings_back_is_destroyed_again_and_that_is_recorded(host: HostBench) -> None:
    bench = host.bench
    kept = {table: bench.rows(f"SELECT * FROM {table}") for table in ("subject_keys", "blind_index")}  # noqa: S608 (ours)
    erase(bench, "patient", PATIENT)
    for table, rows in kept.items():
        bench.sql(f"DELETE FROM {table}")  # noqa: S608 (ours)
        for row in rows:
            names = ", ".join(row._fields)
            values = ", ".join(f":{name}" for name in row._fields)
            bench.sql(f"INSERT INTO {table} ({names}) VALUES ({values})", **row._mapping)  # noqa: S608 (ours)
    bench.sql("DELETE FROM destroyed")
    assert states(bench)["vault.object-opened"] is State.OPENS

    # Whoever knows nothing of it, which a database alone does not, leaves it.
    assert erasing(bench, bench.folder / "elsewhere.json").again() == 0
    assert states(bench)["vault.object-opened"] is State.OPENS

    assert erasing(bench).again() > 0
    assert states(bench)["vault.object-opened"] is State.ERASED
    assert touching(bench, PATIENT) == ()
    record = next(one for one in reversed(bench.events()) if one is not Event.AUDIT_READ)
    assert record is Event.KEY_DESTROYED


def test_what_a_host_sealed_to_the_audit_key_is_sealed_anew_once(local: Bench) -> None:
    host = local.enrol()
    host.note(Event.IMAGE_REFUSED, private={"sop_instance": "1.2.3"})
    host.deliver(1, 1)
    (before,) = local.rows("SELECT sealed FROM audit_records")

    Resealing(local.journal, local.private).step()
    (after,) = local.rows("SELECT sealed FROM audit_records")
    Resealing(local.journal, local.private).step()

    assert (before.sealed[:6], after.sealed[:6]) == (b"LGSBOX", b"LGSUBJ")
    assert local.rows("SELECT sealed FROM audit_records")[0].sealed == after.sealed
    assert host.deliver(1, 1) == 1
    assert proved(local)


def test_what_is_sealed_anew_before_an_erasure_keeps_no_record_waiting_for_all_of_it(local: Bench) -> None:
    host = local.enrol()
    for _ in range(401):
        host.note(Event.IMAGE_REFUSED, private={"sop_instance": "1.2.3"})
    host.deliver(1, 401)
    commits = list[Session]()
    event.listen(local.database, "after_commit", commits.append)

    erasing(local).erasable("patient", PATIENT)

    assert len(commits) > 2
    (left,) = local.rows("SELECT count(*) AS left FROM audit_records WHERE substr(sealed, 1, 6) = x'4c4753424f58'")
    assert left.left == 0


def test_what_does_not_open_is_left_as_it_came(local: Bench) -> None:
    host = local.enrol()
    host.note(Event.IMAGE_REFUSED, private={"sop_instance": "1.2.3"})
    sealed = bytearray(host.journal[0].sealed or b"")
    sealed[-1] ^= 1
    host.journal[0] = StoredRecord(host.journal[0].public, bytes(sealed))
    host.deliver(1, 1)

    Resealing(local.journal, local.private).step()

    assert local.rows("SELECT sealed FROM audit_records")[0].sealed == bytes(sealed)


def test_nobody_is_erased_twice_by_one_request(local: Bench) -> None:
    told(local)
    subject = erase(local, "patient", PATIENT)

    with snapshot(local.database) as session, pytest.raises(SubjectUnknown):
        erasing(local).verify(session, subject)
