"""A host's evidence key is certified anew each year: nothing it ever signed falls out of a certificate's time."""

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.db.models import Certificate, Host
from control_plane.enrolment.authority import EVIDENCE_LIFE, Kind
from control_plane.enrolment.certified import CertificateBarred, bar
from control_plane.enrolment.enroller import AnotherKey
from control_plane.enrolment.standing import HostQuarantined, Standing
from control_plane.fleet.states import HostUnknown
from edge_agent.config import EVIDENCE_CERTIFICATE, AgentFolder
from edge_agent.enrol.evidence import EvidenceRenewal
from edge_agent.enrol.judge import AnswerUnusable
from edge_agent.https import Answer, HttpsDoor
from shared.audit.events import Event
from shared.enrolment.chain import is_valid_at, parse_chain
from shared.enrolment.exchange import EnrolmentRequest
from shared.enrolment.renewal import EVIDENCE_PATH, EvidenceRenewalAnswer, EvidenceRenewalRequest
from shared.identity import HostId
from shared.signing import Label, SoftwareSigner, sign_statement, verify_statement
from tests.control_plane.enrolment.test_enrolment import ASSET, DOORS, Centre, request_pem
from tests.fakes.log import MemoryLog

MONTH = timedelta(days=30)


class Machine:
    """The identity folder of a host, and its agent's word with the centre, without the TLS between them."""

    name = "centre"

    def __init__(self, centre: Centre, folder: Path) -> None:
        self.centre, self.folder = centre, AgentFolder(folder)
        self.folder.identity.mkdir(parents=True)
        self.key, tls = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        asked = EnrolmentRequest(centre.code().code.secret, request_pem(tls), request_pem(self.key), ASSET)
        answer = centre.enroller.enrol(asked, DOORS)
        self.host_id, self.file = answer.host_id, self.folder.identity / EVIDENCE_CERTIFICATE
        self.file.write_text(answer.evidence_certificate)
        self.renewal = EvidenceRenewal(
            cast(HttpsDoor, self), self.folder, self.host_id, key=lambda: self.key, trust=lambda: centre.ca.trust,
            clock=centre.clock, log=MemoryLog(),
        )  # fmt: skip

    def post(self, path: str, body: bytes, _kind: str) -> Answer:
        assert path == EVIDENCE_PATH
        answer = self.centre.renewer.renew_evidence(self.host_id, EvidenceRenewalRequest.parse(body))
        return Answer(200, answer.encode())

    @property
    def certificate(self) -> x509.Certificate:
        return parse_chain(self.file.read_bytes(), "evidence")[0]


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


@pytest.fixture
def machine(centre: Centre, tmp_path: Path) -> Machine:
    return Machine(centre, tmp_path / "agent")


def certificates(centre: Centre, host_id: HostId) -> list[x509.Certificate]:
    theirs = (Certificate.subject == str(host_id), Certificate.kind == Kind.EVIDENCE)
    with centre.database() as session:
        pems = session.scalars(select(Certificate.pem).where(*theirs).order_by(Certificate.issued)).all()
    return [x509.load_pem_x509_certificate(pem.encode()) for pem in pems]


def test_over_a_year_and_a_half_every_statement_is_of_a_certificates_time(centre: Centre, machine: Machine) -> None:
    signer, statements = SoftwareSigner(machine.key), []
    renewed = []
    for _ in range(19):
        centre.clock.advance(MONTH / 5 * 4)
        _keep_alive(centre)
        centre.clock.advance(MONTH / 5)
        renewed.append(machine.renewal.renew_if_due())
        statements.append((centre.clock.now(), sign_statement(signer, Label.AUDIT_BATCH, b"{}")))
        assert is_valid_at(machine.certificate, centre.clock.now())

    assert renewed.count(True) == 2
    issued = certificates(centre, machine.host_id)
    assert len(issued) == 3
    assert all(one.public_key() == machine.key.public_key() for one in issued)
    for when, signed in statements:
        assert any(is_valid_at(one, when) for one in issued)
        key = EvidenceKeys(centre.database, centre.ca.trust).for_statement(str(machine.host_id), signed)
        verify_statement(signed, Label.AUDIT_BATCH, key)
    # The control: with the first alone, half a year of them would be of no certificate's time.
    assert sum(not is_valid_at(issued[0], when) for when, _ in statements) == 7


def _keep_alive(centre: Centre) -> None:
    """Keep the host certified for TLS, without which nobody renews anything."""
    with centre.database.begin() as session:
        for row in session.scalars(select(Certificate).where(Certificate.kind == Kind.HOST)):
            row.not_after = centre.clock.now() + MONTH  # as the weekly renewals would have it


def test_an_answer_that_was_lost_is_given_again_and_no_second_certificate(centre: Centre, machine: Machine) -> None:
    centre.clock.advance(EVIDENCE_LIFE * 2 / 3)
    _keep_alive(centre)
    before = machine.file.read_bytes()
    assert machine.renewal.renew_if_due()
    first = machine.file.read_bytes()
    machine.file.write_bytes(before)

    assert machine.renewal.renew_if_due()
    assert machine.file.read_bytes() == first
    assert len(certificates(centre, machine.host_id)) == 2
    assert centre.events().count(Event.CERTIFICATE_RENEWED) == 1
    assert not machine.renewal.renew_if_due()


def test_killed_in_the_middle_it_has_the_old_certificate_and_then_the_new_one(centre: Centre, machine: Machine) -> None:
    centre.clock.advance(EVIDENCE_LIFE * 2 / 3)
    _keep_alive(centre)
    before = machine.file.read_bytes()
    asked = EvidenceRenewalRequest(request_pem(machine.key))
    answer = centre.renewer.renew_evidence(machine.host_id, asked).encode()

    for moment in ("fsync", "rename"):  # half written, and written but not in its place
        child = os.fork()
        if not child:
            _renew_and_die(machine, answer, moment)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert machine.file.read_bytes() == before
    assert machine.renewal.renew_if_due()
    assert machine.file.read_bytes().decode() == EvidenceRenewalAnswer.parse(answer).evidence_certificate


def _renew_and_die(machine: Machine, answer: bytes, moment: str) -> None:
    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(Path if moment == "rename" else os, moment, die)
    machine.post = lambda *_: Answer(200, answer)  # type: ignore[method-assign]
    try:
        machine.renewal.renew_if_due()
    finally:
        os._exit(0)


def test_only_its_own_key_and_only_a_host_in_good_standing(centre: Centre, machine: Machine) -> None:
    centre.clock.advance(EVIDENCE_LIFE * 2 / 3)
    _keep_alive(centre)
    mine = EvidenceRenewalRequest(request_pem(machine.key))
    other = EvidenceRenewalRequest(request_pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(AnotherKey):
        centre.renewer.renew_evidence(machine.host_id, other)
    _stand(centre, machine, Standing.QUARANTINED)
    with pytest.raises(HostQuarantined):
        centre.renewer.renew_evidence(machine.host_id, mine)
    _stand(centre, machine, Standing.ACTIVE)
    with centre.database.begin() as session:
        bar(session, machine.host_id, centre.clock.now())
    with pytest.raises(CertificateBarred):
        centre.renewer.renew_evidence(machine.host_id, mine)
    centre.revoke(machine.host_id)
    with pytest.raises(HostUnknown):
        centre.renewer.renew_evidence(machine.host_id, mine)

    assert len(certificates(centre, machine.host_id)) == 1
    assert centre.events().count(Event.RENEWAL_REFUSED) == 4


def _stand(centre: Centre, machine: Machine, standing: Standing) -> None:
    with centre.database.begin() as session:
        session.get_one(Host, str(machine.host_id)).standing = standing


def test_a_host_keeps_what_it_has_before_a_worse_answer(centre: Centre, machine: Machine) -> None:
    before = machine.file.read_bytes()
    centre.clock.advance(EVIDENCE_LIFE * 2 / 3)
    _keep_alive(centre)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    with centre.database.begin() as session:
        worse = [
            centre.ca.issue(session, Kind.EVIDENCE, str(machine.host_id), other),
            centre.ca.issue(session, Kind.EVIDENCE, str(HostId.new()), machine.key.public_key()),
            centre.ca.issue(session, Kind.HOST, str(machine.host_id), machine.key.public_key()),
            before.decode(),
        ]
    for pem in worse:
        machine.post = lambda *_, pem=pem: Answer(200, EvidenceRenewalAnswer(pem).encode())  # type: ignore[method-assign]
        with pytest.raises(AnswerUnusable):
            machine.renewal.renew_if_due()
        assert machine.file.read_bytes() == before
