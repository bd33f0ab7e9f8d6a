"""A host without a certificate may ask, and a person's word alone gives it one: it goes on as the same host."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from control_plane.db.models import AuditRow, Certificate, Host
from control_plane.enrolment.authority import HOST_LIFE
from control_plane.enrolment.certified import bar
from control_plane.enrolment.lapsed import AskRefused, LapsedHosts, NoSuchAsk, Waits, gaps
from control_plane.enrolment.revocation import RevokedHosts
from control_plane.fleet.doubts import Doubts
from control_plane.fleet.states import HostUnknown
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.enrolment.exchange import EnrolmentRequest
from shared.enrolment.lapsed import LapsedRequest, ask, fingerprint
from shared.enrolment.renewal import RenewalAnswer
from shared.errors import Malformed
from shared.identity import HostId
from shared.signing import SignatureInvalid, SoftwareSigner, WrongSigner
from tests.control_plane.enrolment.test_enrolment import ASSET, DOORS, Centre, request_pem


class Machine:
    """A machine that enrolled at `centre` and keeps its evidence key and one fresh key."""

    def __init__(self, centre: Centre) -> None:
        self.centre = centre
        evidence = ec.generate_private_key(ec.SECP256R1())
        tls = request_pem(ec.generate_private_key(ec.SECP256R1()))
        self.signer, self.fresh = SoftwareSigner(evidence), ec.generate_private_key(ec.SECP256R1())
        secret = centre.code().code.secret
        self.host_id = centre.enroller.enrol(EnrolmentRequest(secret, tls, request_pem(evidence), ASSET), DOORS).host_id

    def copy(self) -> "Machine":
        made = Machine.__new__(Machine)
        made.__dict__ = {**self.__dict__, "fresh": ec.generate_private_key(ec.SECP256R1())}
        return made

    @property
    def short(self) -> str:
        return fingerprint(self.fresh.public_key())

    def request(self) -> LapsedRequest:
        return ask(self.signer, self.host_id, request_pem(self.fresh), self.centre.clock.now())


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


@pytest.fixture
def lapsed(centre: Centre) -> LapsedHosts:
    return LapsedHosts(centre.database, centre.ca, centre.evidence, centre.journal, centre.clock)


@pytest.fixture
def machine(centre: Centre) -> Machine:
    """One whose certificate has ended."""
    machine = Machine(centre)
    centre.clock.advance(HOST_LIFE)
    return machine


def events(centre: Centre, *of: Event) -> list[Event]:
    with centre.database() as session:
        found = [AuditRecord.parse(public).event for public in session.scalars(select(AuditRow.public))]
    return [event for event in found if event in of]


def test_an_ask_waits_until_a_person_approves_just_that_key(
    centre: Centre, lapsed: LapsedHosts, machine: Machine
) -> None:
    assert lapsed.ask(machine.request(), "10.0.0.7") == Waits(machine.short)
    assert lapsed.ask(machine.request(), "10.0.0.7") == Waits(machine.short)
    (listed,) = lapsed.asks()
    assert (listed["host"], listed["fingerprint"], listed["address"]) == (
        str(machine.host_id),
        machine.short,
        "10.0.0.7",
    )
    assert machine.short in next(gaps(lapsed.asks()))
    with pytest.raises(NoSuchAsk):
        lapsed.approve("ada", machine.host_id, "0000-0000-0000-0000")

    lapsed.approve("ada", machine.host_id, machine.short)
    answer = lapsed.ask(machine.request(), "10.0.0.7")
    assert isinstance(answer, RenewalAnswer)
    certificate = x509.load_pem_x509_certificate(answer.tls_certificate.encode())
    assert certificate.public_key() == machine.fresh.public_key()
    assert lapsed.asks() == []
    assert events(centre, Event.HOST_ASKED, Event.CERTIFICATE_REGAINED) == [
        Event.HOST_ASKED,
        Event.CERTIFICATE_REGAINED,
    ]


def test_an_answer_that_was_lost_is_given_again(lapsed: LapsedHosts, machine: Machine) -> None:
    lapsed.ask(machine.request(), "")
    lapsed.approve("ada", machine.host_id, machine.short)

    assert lapsed.ask(machine.request(), "") == lapsed.ask(machine.request(), "")


def test_a_replayed_ask_opens_nothing(centre: Centre, lapsed: LapsedHosts, machine: Machine) -> None:
    """Not one that was answered, once its certificate has ended too; the control is an ask for another fresh key."""
    old = machine.request()
    lapsed.ask(old, "")
    lapsed.approve("ada", machine.host_id, machine.short)
    lapsed.ask(old, "")
    centre.clock.advance(timedelta(days=90))

    with pytest.raises(AskRefused, match="a fresh one"):
        lapsed.ask(old, "")
    assert lapsed.asks() == []
    assert isinstance(lapsed.ask(machine.copy().request(), ""), Waits)


def test_a_revoked_host_asks_in_vain(centre: Centre, lapsed: LapsedHosts, machine: Machine) -> None:
    """Also with an ask that was approved before. The control is its neighbour, which was approved alike."""
    neighbour = Machine(centre)
    centre.clock.advance(HOST_LIFE)
    for one in (machine, neighbour):
        lapsed.ask(one.request(), "")
        lapsed.approve("ada", one.host_id, one.short)
    centre.revoke(machine.host_id)

    with pytest.raises(HostUnknown):
        lapsed.ask(machine.request(), "")
    assert isinstance(lapsed.ask(neighbour.request(), ""), RenewalAnswer)
    assert events(centre, Event.ASK_REFUSED) == [Event.ASK_REFUSED]


@pytest.mark.parametrize("forged", ["another evidence key", "a flipped bit", "another request"])
def test_an_ask_that_the_host_did_not_sign_is_refused(
    centre: Centre, lapsed: LapsedHosts, machine: Machine, forged: str
) -> None:
    thief = machine.copy()
    thief.signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    genuine = machine.request()
    flipped = genuine.signed[:-1] + bytes([genuine.signed[-1] ^ 1])
    request, error = {
        "another evidence key": (thief.request(), WrongSigner),
        "a flipped bit": (LapsedRequest(flipped, genuine.tls_csr), SignatureInvalid),
        "another request": (LapsedRequest(genuine.signed, request_pem(thief.fresh)), Malformed),
    }[forged]

    with pytest.raises(error):
        lapsed.ask(request, "")
    assert lapsed.asks() == []
    assert isinstance(lapsed.ask(genuine, ""), Waits)


def test_a_host_that_has_a_certificate_asks_for_none(centre: Centre, lapsed: LapsedHosts) -> None:
    """The control is the same host when that has ended."""
    machine = Machine(centre)
    centre.clock.advance(HOST_LIFE - timedelta(seconds=1))
    with pytest.raises(AskRefused, match="active"):
        lapsed.ask(machine.request(), "")

    centre.clock.advance(timedelta(seconds=1))
    assert isinstance(lapsed.ask(machine.request(), ""), Waits)


def test_the_evidence_key_gets_no_certificate_for_tls(lapsed: LapsedHosts, machine: Machine) -> None:
    machine.fresh = machine.signer._key

    with pytest.raises(AskRefused):
        lapsed.ask(machine.request(), "")


def test_of_two_machines_with_one_identity_the_approved_one_goes_on_alone(
    centre: Centre, lapsed: LapsedHosts, machine: Machine
) -> None:
    copy = machine.copy()
    for one in (machine, copy):
        lapsed.ask(one.request(), "")
    assert {ask["fingerprint"] for ask in lapsed.asks()} == {machine.short, copy.short}
    lapsed.approve("ada", machine.host_id, machine.short)
    assert isinstance(lapsed.ask(copy.request(), ""), Waits)

    assert isinstance(lapsed.ask(machine.request(), ""), RenewalAnswer)
    with pytest.raises(AskRefused, match="active"):
        lapsed.ask(copy.request(), "")


def test_of_two_words_the_later_one_counts(lapsed: LapsedHosts, machine: Machine) -> None:
    """The first may have been of the wrong machine, or of a key that its host has lost since."""
    other = machine.copy()
    for one in (machine, other):
        lapsed.ask(one.request(), "")
        lapsed.approve("ada", one.host_id, one.short)

    assert [ask["fingerprint"] for ask in lapsed.asks() if ask["approved"]] == [other.short]
    assert isinstance(lapsed.ask(machine.request(), ""), Waits)
    assert isinstance(lapsed.ask(other.request(), ""), RenewalAnswer)


def test_whoever_asks_for_ever_new_keys_pushes_none_out_before_it_can_be_compared(
    centre: Centre, lapsed: LapsedHosts, machine: Machine
) -> None:
    """Not at once; after a minute the oldest gives way, so that a true machine comes in as well."""
    first, second, third = (machine.copy() for _ in range(3))
    for one in (first, second):
        lapsed.ask(one.request(), "")
        centre.clock.advance(timedelta(seconds=1))
    with pytest.raises(AskRefused, match="in a minute"):
        lapsed.ask(third.request(), "")
    assert {ask["fingerprint"] for ask in lapsed.asks()} == {first.short, second.short}

    centre.clock.advance(timedelta(minutes=1))
    lapsed.ask(third.request(), "")
    assert {ask["fingerprint"] for ask in lapsed.asks()} == {second.short, third.short}


def test_a_barred_host_waits_for_approval_and_its_old_certificate_is_given_to_nobody(
    centre: Centre, lapsed: LapsedHosts
) -> None:
    machine = Machine(centre)
    with centre.database.begin() as session:
        host = session.get_one(Host, str(machine.host_id))
        host.doubt, host.standing = "cloned", "quarantined"
    with pytest.raises(AskRefused, match="quarantined"):
        lapsed.ask(machine.request(), "")
    closed: list[HostId] = []

    Doubts(centre.database, centre.journal, centre.clock, closed.append).rekey(machine.host_id, "ada", "a copied disk")
    assert closed == [machine.host_id]
    assert isinstance(lapsed.ask(machine.request(), ""), Waits)
    lapsed.approve("ada", machine.host_id, machine.short)
    assert isinstance(lapsed.ask(machine.request(), ""), RenewalAnswer)


def test_a_barred_certificate_is_on_the_list_of_the_broker_and_the_approved_one_is_not(
    centre: Centre, lapsed: LapsedHosts
) -> None:
    machine, listed = Machine(centre), RevokedHosts(centre.database, centre.ca, centre.ca)
    before = x509.load_pem_x509_crl(listed.revocation_list())
    with centre.database.begin() as session:
        bar(session, machine.host_id, centre.clock.now())
    listed.stand_in(machine.host_id)  # what ends its session is no certificate of it
    lapsed.ask(machine.request(), "")
    lapsed.approve("ada", machine.host_id, machine.short)
    lapsed.ask(machine.request(), "")
    after = x509.load_pem_x509_crl(listed.revocation_list())

    assert len(before) == 0
    assert len(after) == 2
    with centre.database() as session:
        issued = session.scalars(select(Certificate).where(Certificate.subject == str(machine.host_id))).all()
    approved = next(
        row
        for row in issued
        if x509.load_pem_x509_certificate(row.pem.encode()).public_key() == machine.fresh.public_key()
    )
    assert after.get_revoked_certificate_by_serial_number(int(approved.serial, 16)) is None
    assert listed.hosts() == ()
