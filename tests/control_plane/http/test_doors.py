"""The three doors as a stranger, a host and a person find them, over real sockets."""

import json
import ssl
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.config import AgentFolder, load_config
from edge_agent.enrol.enroller import NotTheEnrolmentDoor, enrol
from edge_agent.https import unverified_door
from shared.audit.batch import ChainHead, sign_batch
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.packed import pack
from shared.audit.record import GENESIS, StoredRecord, compose
from shared.enrolment.code import EnrolmentCode
from shared.enrolment.exchange import EnrolmentAnswer, EnrolmentRequest
from shared.enrolment.renewal import RenewalAnswer, RenewalRequest
from shared.fleet.receipt import NOT_HELD
from shared.signing import SoftwareSigner
from tests.control_plane.http.conftest import Answer, Open
from tests.shared.made import NOW

Trusting = Callable[[], ssl.SSLContext]


def problem(answer: Answer) -> dict[str, object]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, object] = json.loads(answer.body)
    assert body["status"] == answer.status
    return body


def issue_code(door: Open, asset: str = "CT 2") -> EnrolmentCode:
    answer = door.signed_in("POST", "/api/v1/enrolment/codes", json.dumps({"asset": asset}).encode())
    return EnrolmentCode.parse(json.loads(answer.body)["code"])


class EnrolledHost:
    """A host that has enrolled through the door, with its keys in memory and files for ssl."""

    def __init__(self, door: Open, folder: Path) -> None:
        self.tls, self.evidence = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        request = EnrolmentRequest(issue_code(door).secret, csr(self.tls), csr(self.evidence), "CT 2")
        answer = door.enrolment("POST", "/api/v1/enrol", request.encode())
        assert answer.status == 200, answer.body
        self.answer, self._folder = EnrolmentAnswer.parse(answer.body), folder

    def identify(self, context: ssl.SSLContext, certificate: str, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
        path = self._folder / "identity.pem"
        path.write_text(certificate + pem(key))
        context.load_cert_chain(path)
        return context


@pytest.fixture
def host(door: Open, tmp_path: Path) -> EnrolledHost:
    return EnrolledHost(door, tmp_path)


def csr(key: ec.EllipticCurvePrivateKey) -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def test_whoever_enrols_at_the_hosts_door_is_told_so_and_the_code_stays_good(door: Open, tmp_path: Path) -> None:
    folder, code = AgentFolder(tmp_path / "agent"), issue_code(door)

    with pytest.raises(NotTheEnrolmentDoor, match="it is the hosts' door; give the address of the enrolment door"):
        enrol(folder, str(door.addresses["hosts_url"]), code, "CT 2")
    enrol(folder, str(door.addresses["enrol_url"]), code, "CT 2")

    assert load_config(folder).asset == "CT 2"


@pytest.mark.parametrize("which, asks", [("hosts_url", True), ("enrol_url", False)])
def test_the_hosts_door_alone_asks_for_a_certificate(door: Open, which: str, asks: bool) -> None:
    to = unverified_door("127.0.0.1", urlsplit(str(door.addresses[which])).port or 0)

    assert to.asks_for_a_certificate() == asks


def test_the_enrolment_door_shows_the_ca_that_a_code_names(door: Open) -> None:
    ca = x509.load_pem_x509_certificate(door.enrolment("GET", "/ca.pem").body)

    der = ca.public_bytes(serialization.Encoding.DER)
    assert sha256(der).digest() == issue_code(door).ca_sha256


def test_a_host_that_enrolled_is_let_in(door: Open, host: EnrolledHost, trusting: Trusting) -> None:
    context = host.identify(trusting(), host.answer.tls_certificate, host.tls)

    answer = door.hosts(context, "GET", "/api/v1/policy/head")
    assert answer.status == 404
    assert problem(answer)["detail"] == "no policy is published yet"
    assert answer.headers["Leadglass-Reads"] == "budget, packed-audit-batch, receipts", "as agents ask before they tell"


def test_a_host_is_told_that_an_object_is_not_held(door: Open, host: EnrolledHost, trusting: Trusting) -> None:
    context = host.identify(trusting(), host.answer.tls_certificate, host.tls)

    answer = door.hosts(context, "GET", f"/api/v1/objects/{'0' * 32}")
    assert (answer.status, problem(answer)["error"]) == (404, NOT_HELD)


def test_audit_records_are_taken_as_json_and_packed(door: Open, host: EnrolledHost, trusting: Trusting) -> None:
    source, head, records = str(host.answer.host_id), ChainHead(), list[StoredRecord]()
    context = host.identify(trusting(), host.answer.tls_certificate, host.tls)
    for number in (1, 2):
        stored = compose(
            Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS), source=source, seq=number, prev=head.leaf,
            time=NOW, salt=bytes(32), key=None,
        )  # fmt: skip
        head = ChainHead(number, stored.leaf)
        records.append(stored)
    first, both = (sign_batch(source, GENESIS, some, SoftwareSigner(host.evidence)) for some in (records[:1], records))

    answers = [
        door.hosts(context, "POST", "/api/v1/audit/batches", body) for body in (first.encode(), pack(first), pack(both))
    ]

    assert [json.loads(answer.body) for answer in answers] == [{"held": 1}, {"held": 1}, {"held": 2}]
    assert {answer.headers["Leadglass-Reads"] for answer in answers} == {"budget, packed-audit-batch, receipts"}


def test_the_host_door_stays_shut_without_a_client_certificate(door: Open, trusting: Trusting) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        door.hosts(trusting(), "GET", "/api/v1/policy/head")


def test_the_host_door_stays_shut_to_a_certificate_of_another_authority(
    door: Open, host: EnrolledHost, trusting: Trusting
) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, str(host.answer.host_id))])
    ours = x509.load_pem_x509_certificate(host.answer.tls_certificate.encode())
    forged = (
        x509.CertificateBuilder()
        .subject_name(ours.subject)
        .issuer_name(name)
        .public_key(host.tls.public_key())
        .serial_number(ours.serial_number)
        .not_valid_before(ours.not_valid_before_utc)
        .not_valid_after(ours.not_valid_after_utc)
        .sign(host.tls, hashes.SHA256())
    )
    context = host.identify(trusting(), forged.public_bytes(serialization.Encoding.PEM).decode(), host.tls)

    with pytest.raises((ssl.SSLError, ConnectionError)):
        door.hosts(context, "GET", "/api/v1/policy/head")


def test_an_evidence_certificate_does_not_open_the_host_door(
    door: Open, host: EnrolledHost, trusting: Trusting
) -> None:
    context = host.identify(trusting(), host.answer.evidence_certificate, host.evidence)

    with pytest.raises((ssl.SSLError, ConnectionError)):
        door.hosts(context, "GET", "/api/v1/policy/head")


def test_a_host_renews_over_its_door(door: Open, host: EnrolledHost, trusting: Trusting) -> None:
    fresh = ec.generate_private_key(ec.SECP256R1())
    old = host.identify(trusting(), host.answer.tls_certificate, host.tls)

    answer = door.hosts(old, "POST", "/api/v1/renewal", RenewalRequest(csr(fresh)).encode())
    assert answer.status == 200
    renewed = host.identify(trusting(), RenewalAnswer.parse(answer.body).tls_certificate, fresh)
    assert door.hosts(renewed, "GET", "/api/v1/policy/head").status == 404


def test_the_same_code_a_second_time_is_refused(door: Open) -> None:
    secret = issue_code(door).secret
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(4)]
    first = EnrolmentRequest(secret, csr(keys[0]), csr(keys[1]), "CT 2")
    second = EnrolmentRequest(secret, csr(keys[2]), csr(keys[3]), "CT 2")

    assert door.enrolment("POST", "/api/v1/enrol", first.encode()).status == 200
    refused = door.enrolment("POST", "/api/v1/enrol", second.encode())
    assert refused.status == 403
    assert problem(refused)["error"] == "CodeRefused"


def test_an_enrolment_that_is_not_one_gets_a_clear_answer(door: Open) -> None:
    answer = door.enrolment("POST", "/api/v1/enrol", b"{}")

    assert answer.status == 400
    assert problem(answer)["detail"] == "enrolment request field 'v' is malformed: missing"


@pytest.mark.parametrize(
    "path, method",
    [
        ("/api/v1/status", "GET"),
        ("/api/v1/objects/find", "POST"),
        ("/api/v1/policy/parts", "GET"),
        ("/api/v1/policy/versions", "GET"),
        ("/api/v1/policy/versions/1", "GET"),
        ("/api/v1/policy/simulate", "POST"),
        ("/api/v1/policy/online-key", "POST"),
        ("/api/v1/policy/root", "POST"),
        ("/api/v1/people", "POST"),
        ("/api/v1/people/remove", "POST"),
        ("/api/v1/audit/records", "GET"),
        ("/api/v1/audit/export", "GET"),
        ("/api/v1/audit/verify", "POST"),
        ("/api/v1/log/checkpoint", "GET"),
        ("/api/v1/log/tile/0/000", "GET"),
        ("/api/v1/log/proof", "POST"),
    ],
)
def test_the_people_door_answers_nobody_who_is_not_signed_in(door: Open, path: str, method: str) -> None:
    answer = door.people(method, path)

    assert answer.status == 401
    assert problem(answer)["error"] == "NotSignedIn"


def test_a_foreign_name_that_resolves_here_is_turned_away(door: Open) -> None:
    answer = door.people("GET", "/", Host="evil.example")

    assert answer.status == 421


def test_a_sign_in_link_opens_the_page_once(door: Open) -> None:
    path = str(door.centre.addresses()["sign_in_url"]).split("/", 3)[3]

    first = door.people("GET", f"/{path}")
    assert first.status == 302
    cookie = first.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    session = cookie.split(";")[0]
    page = door.people("GET", "/", Cookie=session)
    assert page.status == 200
    assert b"not recoverable" in page.body
    assert door.people("GET", "/static/status.css").headers["Content-Type"].startswith("text/css")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert door.people("GET", f"/{path}").status == 401


def test_a_session_cookie_cannot_act(door: Open) -> None:
    path = str(door.centre.addresses()["sign_in_url"]).split("/", 3)[3]
    session = door.people("GET", f"/{path}").headers["Set-Cookie"].split(";")[0]

    body = b'{"asset": "CT 2"}'
    answer = door.people(
        "POST", "/api/v1/enrolment/codes", body, Cookie=session, **{"Content-Type": "application/json"}
    )
    assert answer.status == 401


def test_what_is_wrong_with_a_request_is_said(door: Open) -> None:
    answer = door.signed_in("POST", "/api/v1/enrolment/codes", b'{"asset": "CT 2", "valid": 1}')

    assert answer.status == 422
    assert "valid" in str(problem(answer)["detail"])


def test_the_status_says_what_nobody_has_proved(door: Open) -> None:
    status = json.loads(door.signed_in("GET", "/api/v1/status").body)

    assert status["recovery"] == {"state": "not recoverable", "drilled": None}
    assert status["broker"]["state"] == "absent"
    assert any("not recoverable" in gap for gap in status["not_evaluated"])
    assert any("no host captures yet" in gap for gap in status["not_evaluated"])


def test_each_door_describes_itself(door: Open) -> None:
    description = json.loads(door.people("GET", "/api/v1/openapi.json").body)

    assert "/api/v1/objects/{object_id}/open" in description["paths"]
