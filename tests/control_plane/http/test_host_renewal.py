"""A host keeps its certificate young by itself: the agent's renewal against the real doors."""

import ssl
from collections.abc import Callable, Mapping
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from werkzeug.test import Client

from control_plane.enrolment.authority import Kind
from control_plane.enrolment.certified import CertificateBarred, bar
from control_plane.enrolment.enroller import Renewer
from control_plane.enrolment.issuance import Why
from edge_agent.config import AgentFolder, Identity, load_identity
from edge_agent.enrol.enroller import enrol
from edge_agent.enrol.judge import AnswerUnusable
from edge_agent.enrol.keys import request
from edge_agent.enrol.lapsed import Asking
from edge_agent.enrol.pinned import PinnedRoot
from edge_agent.enrol.renewal import CertificateRenewal, ConnectionUnproved
from edge_agent.https import Answer, DoorUnavailable, HttpsDoor, fetch_unverified, verified_context
from edge_agent.log import JsonLog
from shared.clock import SystemClock
from shared.enrolment.renewal import RenewalAnswer, RenewalRequest
from tests.control_plane.http.conftest import Open
from tests.control_plane.http.test_doors import issue_code
from tests.fakes.authority import new_key
from tests.fakes.clock import FakeClock

LIFE = timedelta(days=7)


@pytest.fixture
def enrolled(door: Open, tmp_path: Path) -> AgentFolder:
    folder = AgentFolder(tmp_path / "agent")
    folder.path.mkdir()
    enrol(folder, str(door.addresses["enrol_url"]), issue_code(door), "CT 2")
    return folder


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(SystemClock().now())


Renewal = Callable[[HttpsDoor | None], tuple[CertificateRenewal, ssl.SSLContext]]


@pytest.fixture
def renewal(door: Open, enrolled: AgentFolder, clock: FakeClock) -> Renewal:
    url, identity = urlsplit(str(door.addresses["hosts_url"])), load_identity(enrolled)

    def make(other: HttpsDoor | None) -> tuple[CertificateRenewal, ssl.SSLContext]:
        context = verified_context(enrolled.ca, enrolled.tls)
        to = other or HttpsDoor(url.hostname or "", url.port or 0, context)
        return _renewal(to, enrolled, identity, context, clock), context

    return make


def _renewal(
    to: HttpsDoor, folder: AgentFolder, identity: Identity, context: ssl.SSLContext, clock: FakeClock
) -> CertificateRenewal:
    return CertificateRenewal(
        to,
        folder,
        identity.keys,
        host_id=identity.config.host_id,
        asking=Asking(folder, identity, clock, JsonLog(clock)),
        present=identity.tls_certificate,
        root=PinnedRoot(
            folder.ca,
            identity.trust,
            fetch=lambda: fetch_unverified("127.0.0.1", identity.config.doors.enrol_port or 0, "/roots.pem"),
            contexts=[context],
            log=JsonLog(clock),
            note=lambda _: None,
        ),
        contexts=[context],
        clock=clock,
        log=JsonLog(clock),
    )


def test_a_young_certificate_is_left_alone(enrolled: AgentFolder, renewal: Renewal, clock: FakeClock) -> None:
    before = enrolled.tls.read_bytes()
    clock.advance(LIFE * 2 / 3 - timedelta(hours=1))

    assert not renewal(None)[0].renew_if_due()
    assert enrolled.tls.read_bytes() == before


def test_at_two_thirds_of_its_life_the_next_one_is_there_and_works(
    door: Open, enrolled: AgentFolder, renewal: Renewal, clock: FakeClock
) -> None:
    old = load_identity(enrolled)
    clock.advance(LIFE * 2 / 3)
    part, context = renewal(None)

    assert part.renew_if_due()
    new = load_identity(enrolled)
    assert new.tls_certificate.serial_number != old.tls_certificate.serial_number
    assert new.tls_certificate.public_key() != old.tls_certificate.public_key()
    assert new.config == old.config
    assert enrolled.tls.stat().st_mode & 0o777 == 0o600
    assert door.hosts(context, "GET", "/api/v1/policy/head").status == 404
    assert door.hosts(verified_context(enrolled.ca, enrolled.tls), "GET", "/api/v1/policy/head").status == 404


class LyingDoor(HttpsDoor):
    """Answers with a certificate that is not for the key that was sent."""

    def __init__(self, chain: str, context: ssl.SSLContext) -> None:
        super().__init__("127.0.0.1", 1, context)
        self._pem = chain

    def post(self, path: str, body: bytes, content_type: str) -> Answer:
        return Answer(200, RenewalAnswer(self._pem).encode())


def test_a_certificate_for_another_key_is_refused_and_the_old_one_stays(
    enrolled: AgentFolder, renewal: Renewal, clock: FakeClock
) -> None:
    before = enrolled.tls.read_bytes()
    clock.advance(LIFE * 2 / 3)
    chain = before.decode().partition("-----BEGIN PRIVATE KEY-----")[0]
    lying = LyingDoor(chain, verified_context(enrolled.ca))

    with pytest.raises(AnswerUnusable, match="another key"):
        renewal(lying)[0].renew_if_due()
    assert enrolled.tls.read_bytes() == before


def test_a_centre_that_is_away_leaves_the_old_one(enrolled: AgentFolder, renewal: Renewal, clock: FakeClock) -> None:
    before = enrolled.tls.read_bytes()
    clock.advance(LIFE * 2 / 3)

    with pytest.raises(DoorUnavailable):
        renewal(HttpsDoor("127.0.0.1", 1, verified_context(enrolled.ca)))[0].renew_if_due()
    assert enrolled.tls.read_bytes() == before


def test_a_renewal_that_people_asked_for_is_proved_by_a_connection_with_the_new_one(
    enrolled: AgentFolder, renewal: Renewal
) -> None:
    old = load_identity(enrolled).tls_certificate
    new = renewal(None)[0].renew()

    assert new.serial_number != old.serial_number
    assert load_identity(enrolled).tls_certificate == new


class ShutAfterwards(HttpsDoor):
    """Renews, and then lets nobody in: what a centre does that has lost what it issued."""

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return Answer(403, b"{}")


def test_a_certificate_that_opens_no_door_is_not_called_proved(
    door: Open, enrolled: AgentFolder, renewal: Renewal
) -> None:
    url = urlsplit(str(door.addresses["hosts_url"]))
    shut = ShutAfterwards(url.hostname or "", url.port or 0, verified_context(enrolled.ca, enrolled.tls))

    with pytest.raises(ConnectionUnproved):
        renewal(shut)[0].renew()


class Dribbling(BytesIO):
    """A body that a clone sends slowly: meanwhile a person bars both machines, and approves the other one."""

    def __init__(self, body: bytes, meanwhile: Callable[[], None]) -> None:
        super().__init__(body)
        self._meanwhile: list[Callable[[], None]] = [meanwhile]

    def readinto(self, buffer: Any, /) -> int:
        while self._meanwhile:
            self._meanwhile.pop()()
        return super().readinto(buffer)


@pytest.mark.parametrize("approved", [True, False], ids=["the other is approved", "nobody is approved yet"])
def test_a_renewal_that_began_before_its_certificate_was_barred_gets_nothing(
    door: Open, enrolled: AgentFolder, *, approved: bool
) -> None:
    identity, database = load_identity(enrolled), door.centre._database
    host_id = identity.config.host_id

    def barred() -> None:
        with database.begin() as session:
            bar(session, host_id, SystemClock().now())
            if approved:
                door.centre._ca.issue(session, Kind.HOST, str(host_id), new_key().public_key())

    body = RenewalRequest(request(new_key(), "host")).encode()
    answer = Client(door.centre._doors["hosts"]._server.wsgi_app).post(
        "/api/v1/renewal", content_length=len(body), input_stream=Dribbling(body, barred),
        environ_overrides={
            "SSL_CLIENT_VERIFY": "SUCCESS",
            "SSL_CLIENT_CERT": identity.tls_certificate.public_bytes(Encoding.PEM).decode(),
        },
    )  # fmt: skip

    assert (answer.status_code, (answer.json or {}).get("error")) == (403, "CertificateBarred"), answer.json


def test_once_the_door_let_it_in_a_host_without_a_certificate_that_opens_doors_gets_no_further_one(
    door: Open, enrolled: AgentFolder
) -> None:
    host_id, centre = load_identity(enrolled).config.host_id, door.centre
    renewer = Renewer(centre._database, centre._issuance.because(Why.RENEWAL), centre._journal)
    renewer.renew(host_id, RenewalRequest(request(new_key(), "host")))
    with centre._database.begin() as session:
        bar(session, host_id, SystemClock().now())

    with pytest.raises(CertificateBarred):
        renewer.renew(host_id, RenewalRequest(request(new_key(), "host")))
