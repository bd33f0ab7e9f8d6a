"""A person's certificate at the people's door: what its key signs is let in, and nothing else, anywhere."""

import json
import ssl
from collections.abc import Iterator
from datetime import timedelta
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from flask import Request
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from control_plane.checkpoints.forgotten import ForgottenCertificates
from control_plane.checkpoints.guard import STOPPED
from control_plane.cli.certified import Certified, request_for
from control_plane.db.models import Fact, Person
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.profiles import make_root
from control_plane.enrolment.standing import Act
from control_plane.http.host_identity import HostIdentities, NotAHost
from control_plane.people.certificates import NameOfAHost, PersonCertificates
from control_plane.people.signed_request import (
    CERTIFICATE,
    DIGEST,
    INPUT,
    SIGNATURE,
    Asked,
    Proof,
    SignatureWrong,
    sign,
)
from shared.clock import SystemClock
from shared.identity import HostId
from tests.control_plane.http.conftest import Answer, ask
from tests.control_plane.http.test_doors import pem
from tests.control_plane.http.test_signing_in import PASSWORD, Centre
from tests.fakes.clock import FakeClock

_FIELDS = (CERTIFICATE, DIGEST, INPUT, SIGNATURE)
KEY = ec.generate_private_key(ec.SECP256R1())
STATUS, LINKS = "/api/v1/status", "/api/v1/sign-in-links"


class Ada:
    """An administrator with a certificate, and the key for it."""

    def __init__(self, folder: Path) -> None:
        self.centre = Centre(folder, FakeClock(SystemClock().now()))
        self.centre.set_up_phone()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.answer = self.certify()
        self.session = self.answer["session"]
        self.certificate = x509.load_pem_x509_certificate(self.answer["certificate"].encode())

    def certify(self, *, password: str = PASSWORD, name: str = "ada") -> Any:
        body = {"name": name, "password": password, "code": self.centre.fresh_code(), "csr": request_for(self.key)}
        return json.loads(self.post("/api/v1/sign-in/certificate", body).body)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> Answer:
        kind = {"Content-Type": "application/json"}
        return self.centre.door.people("POST", path, json.dumps(body).encode(), **kind, **headers)

    def fields(
        self, method: str, target: str, body: bytes = b"", certificate: x509.Certificate | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> dict[str, str]:  # fmt: skip
        signs = Certified(certificate or self.certificate, key or self.key, self.centre.clock)
        return dict(signs.fields(method, self.centre.here, target, body))

    def status(self, **changed: Any) -> int:
        return self.centre.door.people("GET", STATUS, None, **self.fields("GET", STATUS, **changed)).status


@pytest.fixture(scope="module")
def shared_ada(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ada]:
    ada = Ada(tmp_path_factory.mktemp("ada"))
    yield ada
    ada.centre.plane.stop()


@pytest.fixture
def ada(shared_ada: Ada) -> Ada:
    # Whatever a test gets wrong on purpose is not to count against the next one.
    shared_ada.centre.clock.advance(timedelta(minutes=2))
    return shared_ada


def test_what_the_key_signs_is_let_in_and_what_it_did_not_sign_is_not(ada: Ada) -> None:
    assert ada.status() == 200  # control, for all below
    body = b"{}"
    signed = ada.fields("POST", LINKS, body)
    people, kind = ada.centre.door.people, {"Content-Type": "application/json"}

    assert people("POST", LINKS, b'{"v":1}', **signed, **kind).status == 401  # another body
    assert people("POST", "/api/v1/tokens/renew", body, **signed, **kind).status == 401  # another target
    assert people("GET", LINKS, body, **signed, **kind).status == 401  # another method
    assert people("POST", LINKS, body, **{**signed, "Host": f"localhost:{ada.centre.port}"}, **kind).status == 401
    assert ada.status(key=ec.generate_private_key(ec.SECP256R1())) == 401  # the certificate without its key
    assert people("GET", STATUS, None, **{CERTIFICATE: signed[CERTIFICATE]}).status == 401  # the certificate alone
    assert people("POST", LINKS, body, **signed, **kind).status == 200  # control: just what was signed
    assert people("POST", LINKS, body, **signed, **kind).status == 401  # the same again


def test_a_request_of_another_time_is_refused(ada: Ada) -> None:
    early = ada.fields("GET", STATUS)
    ada.centre.clock.advance(timedelta(seconds=50))
    late = ada.fields("GET", STATUS)
    ada.centre.clock.advance(timedelta(seconds=30))

    assert ada.centre.door.people("GET", STATUS, None, **early).status == 401
    assert ada.centre.door.people("GET", STATUS, None, **late).status == 200


def test_only_who_shows_password_and_second_factor_gets_one_and_it_is_in_the_log(ada: Ada) -> None:
    refused = ada.certify(password="not the password at all")
    assert (refused["status"], refused["title"]) == (403, "Not proved")
    assert ada.certify(name="nobody")["status"] == 403

    verdict = ada.centre.ok("POST", "/api/v1/audit/verify", {})["certificates"]
    assert (verdict["state"], verdict["why"]) == ("verified", "")
    records = ada.centre.ok("GET", "/api/v1/audit/records")["records"]
    named = [{what["kind"]: what["name"] for what in one["what"]} for one in records]
    assert any((one.get("purpose"), one.get("holder")) == ("person", "ada") for one in named)
    assert {one["session"] for one in ada.centre.ok("GET", "/api/v1/sessions")["sessions"]} >= {ada.session}


def test_it_ends_with_its_session_with_its_day_and_with_its_person(tmp_path: Path) -> None:
    ada = Ada(tmp_path)
    try:
        assert ada.status() == 200
        ada.centre.clock.advance(timedelta(hours=1))  # no browser that somebody left
        assert ada.status() == 200
        ada.centre.ok("POST", "/api/v1/sessions/end", {"session": ada.session})
        assert ada.status() == 401

        again = x509.load_pem_x509_certificate(ada.certify()["certificate"].encode())
        assert ada.status(certificate=again) == 200
        ada.centre.clock.advance(timedelta(hours=8))
        assert ada.status(certificate=again) == 401

        third = x509.load_pem_x509_certificate(ada.certify()["certificate"].encode())
        assert ada.status(certificate=third) == 200
        ada.centre.ok("POST", "/api/v1/people", {"name": "bob", "role": "administrator"})
        bob = ada.centre.ok("POST", "/api/v1/people/reset", {"name": "bob"})["token"]
        ada.centre.ok("POST", "/api/v1/people/reset", {"name": "ada"}, token=bob)
        assert ada.status(certificate=third) == 401
    finally:
        ada.centre.plane.stop()


def test_no_certificate_of_another_purpose_signs_requests(ada: Ada) -> None:
    services = ada.centre.plane._people_services().certificates
    for kind in (Kind.HOST, Kind.SERVICE, Kind.EVIDENCE, Kind.PERSON):
        made = _begun_with(services, ada, kind)

        assert ada.status(certificate=made) == (200 if kind is Kind.PERSON else 401), kind


def _begun_with(services: PersonCertificates, ada: Ada, kind: Kind) -> x509.Certificate:
    """Return a certificate of the centre's for ada's key and name, of which a session was begun all the same."""

    def begin(session: Session) -> str:
        issued = services._issuer.issue(session, kind, "ada", ada.key.public_key())
        return services._begin(session, session.get_one(Person, "ada"), issued, "test").pem

    return x509.load_pem_x509_certificate(in_one_commit(services._database, begin).encode())


def test_a_persons_certificate_opens_no_host_door(ada: Ada, tmp_path: Path) -> None:
    # TLS refuses it for its usage, before anybody looks whose it is.
    ca = ada.centre.door.enrolment("GET", "/ca.pem").body.decode()
    context = ssl.create_default_context(cadata=ca)
    (tmp_path / "ada.pem").write_text(ada.answer["certificate"] + pem(ada.key))
    context.load_cert_chain(tmp_path / "ada.pem")
    door = urlsplit(str(ada.centre.door.addresses["hosts_url"]))
    with pytest.raises((ssl.SSLError, OSError)):
        ask(HTTPSConnection(door.hostname or "", door.port, timeout=20, context=context), "GET", "/", None, {})

    # And past TLS the door itself does, also where somebody is called as a host is.
    database = ada.centre.plane._database
    identities = HostIdentities(database, ada.centre.clock, ForgottenCertificates(database, ada.centre.plane._journal))
    shown = Request(
        {"SSL_CLIENT_CERT": ada.certificate.public_bytes(Encoding.PEM).decode(), "SSL_CLIENT_VERIFY": "SUCCESS"}
    )
    with pytest.raises(NotAHost):
        identities.of(shown, Act.DELIVER)
    with pytest.raises(NotAHost):
        identities.certified(shown)


def test_whoever_is_called_as_a_host_is_gets_none(ada: Ada) -> None:
    services = ada.centre.plane._people_services().certificates
    services._proving = _Proves(str(HostId.new()))

    with pytest.raises(NameOfAHost):
        services.issue("x", "x", "x", request_for(ada.key), "x")


class _Proves:
    def __init__(self, name: str) -> None:
        self._name = name

    def judged_at_once(self, *given: Any) -> NoReturn:
        given[-1](None, Person(name=self._name, role="administrator"), "totp")
        raise AssertionError("a certificate was made")


def test_while_the_log_may_have_lost_records_nobody_gets_one(ada: Ada) -> None:
    database = ada.centre.plane._database
    with database.begin() as session:
        session.add(Fact(name=STOPPED, value="yesterday"))
    refused = ada.certify()
    with database.begin() as session:
        session.delete(session.get_one(Fact, STOPPED))

    assert refused["status"] == 503
    assert ada.certify()["certificate"]


ROOT = make_root(KEY, "Leadglass test", FakeClock().now())
ASKED = Asked("GET", "127.0.0.1:1", "/")
FORM = sign(ASKED, b"", ROOT, KEY, FakeClock().now(), bytes(16))


def verify(form: dict[str, str]) -> None:
    Proof.parse(ASKED, *(form[name] for name in _FIELDS)).verify()


@given(st.sampled_from(sorted(FORM)), st.text(max_size=300))
def test_no_other_form_is_read(field: str, other: str) -> None:
    verify(FORM)  # control
    if other != FORM[field]:
        with pytest.raises(SignatureWrong):
            verify({**FORM, field: other})


# One changed character makes a serial number negative, which the library warns of. It is refused all the same.
@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
@given(st.sampled_from(sorted(FORM)), st.integers(0, 2000), st.characters(max_codepoint=0x7F))
def test_no_character_of_it_can_be_another(field: str, at: int, other: str) -> None:
    was = FORM[field]
    changed = was[: at % len(was)] + other + was[at % len(was) + 1 :]
    if changed != was:
        with pytest.raises(SignatureWrong):
            Proof.parse(
                Asked("GET", "127.0.0.1:1", "/"), *({**FORM, field: changed}[name] for name in _FIELDS)
            ).verify()
