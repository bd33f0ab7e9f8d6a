"""Rotation: what a centre asks for, what the root's holder signs, and what is taken in."""

from base64 import encodebytes
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.certificates import compare
from control_plane.audit_log.journal import CentreJournal, Sealing
from control_plane.db.models import AuditRow
from control_plane.db.transactions import snapshot
from control_plane.enrolment import authority, profiles, rotation
from control_plane.enrolment.authority import Authority, Kind
from control_plane.enrolment.issuance import Why, record_what_was_issued
from control_plane.enrolment.profiles import ISSUING_LIFE, NotRequested, parse_request
from control_plane.enrolment.root_key import KeyOfAnotherRoot
from control_plane.enrolment.rotation import AuthorityChanges, NotInstalled
from control_plane.keys import store
from control_plane.keys.root import RootKey
from control_plane.keys.store import KeyStore
from control_plane.tlog.sequencer import Sequencer
from shared.audit.events import Event, Outcome
from shared.audit.record import AuditRecord
from shared.enrolment.chain import ChainBroken, parse_chain, pem_of, verify_chain
from shared.errors import Malformed, Refused
from tests.control_plane.begun import database_at
from tests.fakes.authority import DAY, NOW, TestRoot, new_key
from tests.fakes.clock import FakeClock

HOST = "centre.example"


class Place:
    """A centre, and whoever holds its root's key."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.root_key = FakeClock(NOW), new_key()
        self.database: sessionmaker[Session] = database_at(folder / "centre.sqlite")
        self.keys = KeyStore(self.database, RootKey(bytes(32)), self.clock)
        authority.establish(self.database, self.keys, self.clock, self.root_key, [HOST])
        self.keys.create_p256(store.JOURNAL)
        self.journal = CentreJournal(
            self.database,
            self.keys.signer(store.JOURNAL),
            Sequencer(self.keys.log_signer()),
            lambda *_: Sealing(None),
            self.clock,
        )

    @property
    def ca(self) -> Authority:
        return authority.load(self.database, self.keys, self.clock)

    @property
    def changes(self) -> AuthorityChanges:
        return AuthorityChanges(self.database, self.keys, self.journal, self.ca, "ada")

    def sign(self, request: bytes) -> bytes:
        return pem_of([rotation.sign(parse_request(request), self.root_key, self.clock.now())])

    def install(self, pem: bytes) -> None:
        self.changes.install(pem, HOST)

    def issue(self) -> x509.Certificate:
        with self.database.begin() as session:
            pem = self.ca.issue(session, Kind.EVIDENCE, "control-plane", new_key().public_key())
        return parse_chain(pem.encode(), "chain")[0]

    def records(self) -> list[AuditRecord]:
        with self.database() as session:
            return [AuditRecord.parse(public) for public in session.scalars(select(AuditRow.public))]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_fresh_issuing_key_takes_over_and_what_the_old_one_issued_goes_on(place: Place) -> None:
    before, old = place.issue(), place.ca.issuing
    place.clock.advance(ISSUING_LIFE * 2 / 3)
    place.install(place.sign(place.changes.request(["vault.example"]).pem()))
    after, new = place.issue(), place.ca.issuing

    assert new.key.public_key() != old.key.public_key()
    assert new.names == (HOST, "localhost", "vault.example")
    assert (before.issuer, after.issuer) == (old.certificate.subject, new.certificate.subject)
    for leaf in (before, after):
        verify_chain(leaf, place.ca.trust)
    assert [(record.event, record.who[0].name) for record in place.records()] == [
        (Event.ISSUING_REQUESTED, "ada"),
        (Event.ISSUING_INSTALLED, "ada"),
        (Event.CERTIFICATE_ISSUED, "control-plane"),
    ]


def test_a_second_request_is_for_the_key_of_the_first_until_it_has_a_certificate(place: Place) -> None:
    first, second = place.changes.request(), place.changes.request(["vault.example"])
    place.install(place.sign(second.pem()))
    third = place.changes.request()

    assert first.key == second.key
    assert third.key != second.key


def test_the_root_signs_for_its_own_centre_alone(place: Place) -> None:
    place.root_key = new_key()

    with pytest.raises(KeyOfAnotherRoot):
        place.sign(place.changes.request().pem())


def altered_request(
    place: Place, builder: x509.CertificateSigningRequestBuilder, key: ec.EllipticCurvePrivateKey
) -> bytes:
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + place.ca.pem


def test_a_request_for_anything_else_than_an_issuing_authority_of_this_centre_is_not_signed(place: Place) -> None:
    key, root = new_key(), place.ca.root
    right = profiles.request_issuing(key, root, [HOST])
    empty = x509.CertificateSigningRequestBuilder().subject_name(right.csr.subject)
    permitted = profiles.constraints_for([HOST])
    anything = x509.NameConstraints([*(permitted.permitted_subtrees or ()), x509.DNSName("")], None)
    whole_world = x509.NameConstraints([x509.DNSName(HOST)], None)
    for builder in (
        empty,
        empty.add_extension(whole_world, critical=True),
        empty.add_extension(anything, critical=True),
        empty.add_extension(x509.NameConstraints(None, [x509.DNSName(HOST)]), critical=True),
        empty.add_extension(permitted, critical=True).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        ),
        x509.CertificateSigningRequestBuilder().subject_name(root.subject).add_extension(permitted, critical=True),
    ):
        with pytest.raises(NotRequested):
            parse_request(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + place.ca.pem)


A_REQUEST = profiles.request_issuing(new_key(), TestRoot.new().root, [HOST])


@given(data=st.data())
def test_a_request_that_was_changed_on_the_way_is_refused_or_means_the_same(data: st.DataObject) -> None:
    request = A_REQUEST
    der = bytearray(request.csr.public_bytes(serialization.Encoding.DER))
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    csr = f"-----BEGIN CERTIFICATE REQUEST-----\n{encodebytes(der).decode()}-----END CERTIFICATE REQUEST-----\n"
    try:
        read = parse_request(csr.encode() + pem_of([request.root]))
    except Refused:
        return
    assert (read.key, read.names) == (request.key, request.names)


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN CERTIFICATE REQUEST-----\n"])
def test_what_is_no_request_is_malformed(pem: bytes) -> None:
    with pytest.raises(Malformed):
        parse_request(pem)


def test_only_what_the_newest_root_signed_for_the_newest_key_is_installed(place: Place) -> None:
    request = place.changes.request()
    stranger = TestRoot.new(NOW - DAY, centre="Leadglass other")
    by_stranger = profiles.make_issuing(profiles.IssuingRequest(request.csr, stranger.root), stranger.key, NOW)
    another = profiles.make_issuing(profiles.request_issuing(new_key(), place.ca.root, [HOST]), place.root_key, NOW)
    elsewhere = profiles.request_issuing(place.keys.p256(place.keys.issuing_keys()[-1]), place.ca.root, ["x.example"])
    for pem, why in (
        (pem_of([by_stranger]), "the newest root did not certify it"),
        (pem_of([another]), "for another key"),
        (pem_of([profiles.make_issuing(elsewhere, place.root_key, NOW)]), f"does not permit {HOST}"),
        (pem_of([place.ca.issuing.certificate]), "installed already"),
        (pem_of([place.issue()]), "does not hold one certificate of an issuing CA"),
        (pem_of([profiles.make_issuing(request, place.root_key, NOW + DAY)]), "not valid now"),
    ):
        with pytest.raises(Refused, match=why):
            place.install(pem)
    assert place.ca.issuing.key.public_key() != request.key
    assert Outcome.SUCCESS not in {record.outcome for record in place.records()[1:]}


# ---- roots


def test_what_is_installed_is_recorded_as_every_certificate_is(place: Place) -> None:
    """Else `audit verify` calls the root, its links and the next issuing CA certificates that nobody issued."""
    record_what_was_issued(place.database, place.journal, Why.FIRST_START)
    place.clock.advance(DAY)
    pem, place.root_key = rotated(place)
    place.install(pem)
    place.install(place.sign(place.changes.request().pem()))

    with snapshot(place.database) as session:
        compared = compare(session)
    assert (compared.certificates, compared.differences) == (6, ())


def rotated(place: Place) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    key = new_key()
    return pem_of(rotation.rotate(place.ca.root, place.root_key, key, place.clock.now())), key


def test_a_new_root_is_shown_with_its_links_and_certifies_the_next_issuing_key(place: Place) -> None:
    before, old = place.issue(), place.ca
    place.clock.advance(DAY)
    pem, place.root_key = rotated(place)
    place.install(pem)
    between = place.issue()
    place.install(place.sign(place.changes.request().pem()))
    after, new = place.issue(), place.ca

    assert new.fingerprint != old.fingerprint
    assert parse_chain(new.roots_pem, "roots")[:2] == (new.root, old.root)
    for leaf in (before, between, after):
        chain = parse_chain(new.shown(leaf), "shown")
        for root in (old, new):
            verify_chain(leaf, type(root.trust)((root.root,)), chain[1:])
    assert place.records()[0].event is Event.ROOT_INSTALLED


def test_a_root_that_the_present_one_does_not_vouch_for_is_not_installed(place: Place) -> None:
    stranger = TestRoot.new(NOW - DAY)
    newest, _, old_with_new = parse_chain(rotated(place)[0], "rotated")

    with pytest.raises(ChainBroken, match="nothing signed by the root"):
        place.install(pem_of([newest, old_with_new]))
    theirs = stranger.next(NOW + DAY)
    with pytest.raises(ChainBroken, match="nothing signed by the root"):
        place.install(pem_of((theirs.root, *theirs.links)))
    assert len(place.ca.trust.roots) == 1


def test_a_root_that_does_not_vouch_for_the_present_one_is_not_installed(place: Place) -> None:
    newest, new_with_old, _ = parse_chain(rotated(place)[0], "rotated")

    with pytest.raises(NotInstalled, match="evidence of until now would be lost"):
        place.install(pem_of([newest, new_with_old]))
    assert len(place.ca.trust.roots) == 1


def test_a_root_of_yesterday_is_not_installed_again(place: Place) -> None:
    first, place.root_key = rotated(place)
    place.install(first)

    with pytest.raises(NotInstalled, match="no root that is newer"):
        place.install(first)
