"""What the centre promises, on every engine: with several workers, over a restart, and through a power cut."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import event, select

from control_plane.db.engine import close_database
from control_plane.db.models import Certificate, EnrolmentCodeRow, Host
from control_plane.db.transactions import DatabaseUnavailable
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.code_service import EnrolmentCodes, WantedCode
from control_plane.enrolment.codes import CodeRefused
from control_plane.enrolment.enroller import Enroller, Renewer
from control_plane.enrolment.issuance import Why, record_what_was_issued
from control_plane.enrolment.replacing import Replacing
from control_plane.enrolment.revocation import Revocation
from control_plane.fleet.states import HostUnknown
from control_plane.people.accounts import Accounts
from control_plane.vault.losses import forget_telling, gaps
from control_plane.vault.receive import NotHeld
from shared.audit.batch import AuditForked
from shared.audit.events import Event, Subject
from shared.enrolment.exchange import EnrolmentAnswer
from shared.enrolment.renewal import RenewalRequest
from shared.errors import IntegrityFailure, Refused
from tests.contracts.database.originals import Place
from tests.contracts.database.test_transactions import ON_POSTGRESQL, at_once
from tests.control_plane.enrolment.test_enrolment import DOORS, a_request, request_pem
from tests.control_plane.policy.centre import new_centre
from tests.control_plane.vault.bench import Bench
from tests.fakes.postgresql import Server


@pytest.fixture
def enroller(bench: Bench) -> Enroller:
    Accounts(bench.database, bench.clock).create("ada", "administrator")
    return Enroller(
        bench.database, bench.ca, bench.journal, bench.clock, Replacing(bench.journal, bench.moves, lambda _old: None),
        sop_hash_secret=bytes(32), policy_root=lambda: b"{}",
    )  # fmt: skip


def new_code(bench: Bench) -> bytes:
    codes = EnrolmentCodes(bench.database, bench.journal, bench.clock, bench.ca.fingerprint)
    return codes.issue("ada", WantedCode("CT 2, room 1.14"), timedelta(hours=1)).code.secret


def test_two_processes_append_to_one_journal_and_each_number_is_given_once(
    bench: Bench, place: Place, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.contracts.database.appending"]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    running = [
        subprocess.Popen([*command, tmp_path / name, place.url, "30"], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    said = [line for process in running for line in process.communicate(timeout=120)[0].split()]

    assert [process.returncode for process in running] == [0, 0]
    numbers = [row.seq for row in bench.rows("SELECT seq FROM audit_records ORDER BY seq")]
    assert numbers == list(range(1, 61))
    assert sorted(said) == sorted(f"{name}-{number}" for name in ("one", "two") for number in range(30))
    verdicts = bench.reading.prove()
    assert (verdicts["control-plane"].state, verdicts["merkle-log"].state) == ("verified", "verified")


def test_of_eight_that_use_a_code_at_once_one_is_enrolled(bench: Bench, enroller: Enroller) -> None:
    secret = new_code(bench)

    def use() -> EnrolmentAnswer | None:
        try:
            return enroller.enrol(a_request(secret), DOORS)
        except CodeRefused:
            return None

    answers = [answer for answer in at_once([use] * 8) if answer is not None]

    assert len(answers) == 1
    with bench.database() as session:
        assert [host.host_id for host in session.scalars(select(Host))] == [str(answers[0].host_id)]
        assert session.scalars(select(EnrolmentCodeRow.host_id)).all() == [str(answers[0].host_id)]
    events = bench.events()
    assert (events.count(Event.HOST_ENROLLED), events.count(Event.CODE_REUSED)) == (1, 7)


def test_a_host_is_enrolled_renewed_and_revoked(bench: Bench, enroller: Enroller) -> None:
    answer = enroller.enrol(a_request(new_code(bench)), DOORS)
    renewer = Renewer(bench.database, bench.ca, bench.journal)
    renewal = RenewalRequest(request_pem(ec.generate_private_key(ec.SECP256R1())))

    assert renewer.renew(answer.host_id, renewal).tls_certificate
    Revocation(bench.database, bench.journal, lambda _host: "").revoke("ada", answer.host_id, "stolen")

    with pytest.raises(HostUnknown):
        renewer.renew(answer.host_id, renewal)
    assert bench.events() == [
        Event.CODE_ISSUED,
        Event.HOST_ENROLLED,
        Event.CERTIFICATE_RENEWED,
        Event.HOST_REVOKED,
        Event.RENEWAL_REFUSED,
    ]


def test_a_revocation_beside_renewals_ends_them_and_misses_no_certificate(bench: Bench, enroller: Enroller) -> None:
    answer = enroller.enrol(a_request(new_code(bench)), DOORS)
    renewer = Renewer(bench.database, bench.ca, bench.journal)
    revocation = Revocation(bench.database, bench.journal, lambda _host: "")

    def renew() -> int:
        count = 0
        while True:
            try:
                renewer.renew(answer.host_id, RenewalRequest(request_pem(ec.generate_private_key(ec.SECP256R1()))))
            except HostUnknown:
                return count
            count += 1

    def revoke() -> int:
        revocation.revoke("ada", answer.host_id, "stolen")
        return 0

    renewed = sum(at_once([renew, renew, revoke]))

    with bench.database() as session:
        theirs = (Certificate.subject == str(answer.host_id), Certificate.kind == Kind.HOST)
        assert len(session.scalars(select(Certificate).where(*theirs)).all()) == 1 + renewed
    events = bench.events()
    assert Event.CERTIFICATE_RENEWED not in events[events.index(Event.HOST_REVOKED) :]


def test_a_policy_is_published_and_is_the_same_after_a_restart(migrated: Place, tmp_path: Path) -> None:
    centre = new_centre(tmp_path, migrated.url)

    assert [centre.publish(), centre.publish()] == [1, 2]

    assert centre.restarted().published_version == 2
    assert centre.restarted().document() == centre.document()
    close_database(centre.database)


def test_of_two_that_publish_one_version_at_once_one_is_refused(migrated: Place, tmp_path: Path) -> None:
    centre = new_centre(tmp_path, migrated.url)
    offered = centre.sign()

    def publish() -> str:
        try:
            return str(centre.restarted().publisher.publish(offered, "Ada"))
        except Refused as exc:
            return type(exc).__name__

    said = at_once([publish, publish])

    assert "1" in said
    assert len(set(said)) == 2
    assert centre.restarted().published_version == 1
    close_database(centre.database)


def test_an_image_is_received_found_opened_and_its_log_proved(bench: Bench) -> None:
    host = bench.enrol()
    record_what_was_issued(bench.database, bench.journal, Why.FIRST_START)
    image = host.seal()
    host.captured(image)

    receipt = bench.receive(image)
    assert host.deliver(1, len(host.journal)) == len(host.journal)

    assert receipt == bench.receive(image)
    assert bench.read(image) == image.dataset
    verdicts = bench.reading.prove()
    assert {source: verdict.state for source, verdict in verdicts.items()} == {
        "certificates": "verified",
        "control-plane": "verified",
        "merkle-log": "verified",
        str(host.host_id): "verified",
    }


def test_many_hosts_deliver_at_once_and_each_image_is_held_once(bench: Bench) -> None:
    hosts = [bench.enrol() for _ in range(4)]
    images = [host.seal() for host in hosts for _ in range(3)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bench.receive, images * 2))

    assert {row.object_id for row in bench.rows("SELECT object_id FROM objects")} == {
        str(image.object_id) for image in images
    }
    assert bench.events().count(Event.OBJECT_STORED) == len(images)
    verdicts = bench.reading.prove()
    assert (verdicts["control-plane"].state, verdicts["merkle-log"].state) == ("verified", "verified")


def test_a_record_that_is_held_otherwise_is_a_fork(bench: Bench) -> None:
    host = bench.enrol()
    for number in range(3):
        host.note(Event.AGENT_STARTED, (Subject("thing", str(number)),))
    host.deliver(1, 3)
    bench.sql("UPDATE audit_records SET leaf = :leaf WHERE seq = 3 AND source = :source", leaf=bytes(32),
              source=str(host.host_id))  # fmt: skip

    with pytest.raises(AuditForked):
        host.deliver(1, 3)


def test_a_database_of_sqlite_survives_a_killed_writer(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "centre")
    url = str(bench.engine.url)

    acknowledged = _cut_short(tmp_path, url, lambda process: process.kill())

    _all_are_there(bench, acknowledged)
    close_database(bench.database)


@ON_POSTGRESQL
def test_a_power_cut_of_postgresql_takes_nothing_that_was_acknowledged(
    postgresql: Server, place: Place, bench: Bench, tmp_path: Path
) -> None:
    close_database(bench.database)

    acknowledged = _cut_short(tmp_path, place.url, lambda _process: postgresql.stop("immediate"))
    postgresql.start()

    _all_are_there(bench, acknowledged)


@ON_POSTGRESQL
def test_a_server_that_was_away_is_said_to_be_and_used_again_once_it_is_back(postgresql: Server, bench: Bench) -> None:
    image = bench.enrol().seal()
    postgresql.stop("immediate")
    try:
        with pytest.raises(DatabaseUnavailable):
            bench.receive(image)
    finally:
        postgresql.start()

    bench.receive(image)

    assert bench.read(image) == image.dataset


@ON_POSTGRESQL
def test_a_batch_that_postgresql_was_restarted_in_is_held_whole_or_not_at_all_and_may_come_again(
    postgresql: Server, bench: Bench
) -> None:
    host = bench.enrol()
    for _ in range(20):
        host.note()
    assert host.deliver(1, 5) == 5

    # What listens is called when all of a batch is sent, and before COMMIT is.
    event.listen(bench.engine, "commit", lambda _connection: postgresql.stop("immediate"), once=True)
    try:
        with pytest.raises(DatabaseUnavailable):
            host.deliver(6, 20)
    finally:
        postgresql.start()

    assert len(bench.events(str(host.host_id))) == 5
    assert host.deliver(6, 20) == host.deliver(6, 20) == 20
    verdicts = bench.reading.prove()
    assert (verdicts[str(host.host_id)].records, verdicts[str(host.host_id)].state) == (20, "verified")
    assert verdicts["merkle-log"].state == "verified"


def _cut_short(folder: Path, url: str, cut: Callable[["subprocess.Popen[str]"], None]) -> list[str]:
    """Have records appended, cut that off after some, and return those that were said to be durable."""
    (folder / "writer").mkdir()
    command = [sys.executable, "-m", "tests.contracts.database.appending", str(folder / "writer"), url, "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(40)]
        cut(process)
        said += process.stdout.readlines()
    return [line.strip() for line in said if line.endswith("\n")]


def _all_are_there(bench: Bench, acknowledged: list[str]) -> None:
    held = {row.name for row in bench.rows("SELECT name FROM audit_subjects WHERE kind = 'thing'")}
    assert len(acknowledged) >= 40
    assert set(acknowledged) <= held
    verdicts = bench.reading.prove()
    assert (verdicts["control-plane"].state, verdicts["merkle-log"].state) == ("verified", "verified")


def test_an_image_that_is_lost_is_counted_told_and_over_by_another_object(bench: Bench) -> None:
    host, rest = bench.enrol(), bench.enrol()
    lost, told, other = host.seal(b"lost"), host.seal(b"told"), rest.seal(b"other")
    for image in (lost, told, other):
        bench.receive(image)
        bench.body(image.object_id).unlink()
        with pytest.raises(IntegrityFailure):
            bench.read(image)
    with pytest.raises(NotHeld):
        bench.intake.receipt_of(told.object_id, host.host_id)

    with bench.database() as session:
        assert len(list(gaps(session))) == 3
    missed = sorted((image.object_id for image in (lost, told, other)), key=str)
    assert [one.object_id for one in bench.losses.open_after(None)] == missed
    assert [one.object_id for one in bench.losses.open_after(missed[0])] == missed[1:]
    bench.receive(rest.seal(b"lost"))
    bench.receive(told)
    assert bench.losses.untold(host.host_id) == ()
    with bench.database.begin() as session:
        forget_telling(session, rest.host_id)
        (line,) = gaps(session)
    assert str(other.object_id) in line
