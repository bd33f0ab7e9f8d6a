"""Renewal: a fresh certificate for a fresh key in good time, and the old one until the new one is safe."""

import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from edge_agent.config import AgentFolder, load_identity
from edge_agent.enrol.judge import AnswerUnusable
from edge_agent.enrol.lapsed import Asking
from edge_agent.enrol.pinned import PinnedRoot
from edge_agent.enrol.renewal import CertificateRenewal
from edge_agent.https import DoorUnavailable, HttpsDoor, fetch_unverified, verified_context
from shared.enrolment.renewal import RenewalAnswer
from tests.fakes.centre import Authority, Centre
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog


@pytest.fixture
def clock(enrolled: AgentFolder) -> FakeClock:
    return FakeClock(load_identity(enrolled).tls_certificate.not_valid_before_utc)


@pytest.fixture
def renewal(enrolled: AgentFolder, clock: FakeClock) -> Iterator[CertificateRenewal]:
    identity = load_identity(enrolled)
    context = verified_context(enrolled.ca, enrolled.tls)

    door = HttpsDoor(identity.config.doors.host, identity.config.doors.https_port, context, timeout_s=30)
    yield CertificateRenewal(
        door,
        enrolled,
        identity.keys,
        host_id=identity.config.host_id,
        asking=Asking(enrolled, identity, clock, MemoryLog()),
        present=identity.tls_certificate,
        root=pinned(enrolled, [context]),
        contexts=[context],
        clock=clock,
        log=MemoryLog(),
    )
    door.close()


def pinned(folder: AgentFolder, contexts: list[ssl.SSLContext], noted: list[str] | None = None) -> PinnedRoot:
    identity = load_identity(folder)
    port = identity.config.doors.enrol_port
    assert port is not None
    return PinnedRoot(
        folder.ca,
        identity.trust,
        fetch=lambda: fetch_unverified("127.0.0.1", port, "/roots.pem"),
        contexts=contexts,
        log=MemoryLog(),
        note=(noted if noted is not None else []).append,
    )


def test_nothing_is_asked_for_in_the_first_two_thirds(
    centre: Centre, renewal: CertificateRenewal, clock: FakeClock
) -> None:
    clock.advance(timedelta(days=4))

    assert not renewal.renew_if_due()
    assert "POST /api/v1/renewal" not in centre.requests


def test_the_next_certificate_is_for_a_fresh_key_and_serves_at_once_and_after_a_restart(
    centre: Centre, enrolled: AgentFolder, renewal: CertificateRenewal, clock: FakeClock
) -> None:
    before = load_identity(enrolled)
    clock.advance(timedelta(days=5))
    renewed = renewal.renew_if_due()
    after = load_identity(enrolled)

    assert renewed
    assert after.tls_certificate.public_key() != before.tls_certificate.public_key()
    assert after.config == before.config
    assert after.signer.public == before.signer.public
    door = HttpsDoor("127.0.0.1", after.config.doors.https_port, verified_context(enrolled.ca, enrolled.tls))
    assert door.get("/api/v1/policy/head").status == 404
    door.close()


class EndsAtItsFirstPause(threading.Event):
    def wait(self, _timeout: float | None = None) -> bool:
        self.set()
        return True


def test_why_it_was_not_renewed_is_said_until_it_is(
    centre: Centre, renewal: CertificateRenewal, clock: FakeClock
) -> None:
    before = renewal.error
    clock.advance(timedelta(days=5))
    centre.renewal_status = 503
    renewal.run(EndsAtItsFirstPause())
    refused = renewal.error
    centre.renewal_status = 0
    renewal.renew_if_due()

    assert (before, renewal.error) == ("", "")
    assert refused.endswith("status 503: Issuing stopped")


@pytest.mark.parametrize("answer", ["of another CA", "for another key"])
def test_an_answer_that_is_not_ours_changes_nothing(
    answer: str,
    centre: Centre,
    enrolled: AgentFolder,
    renewal: CertificateRenewal,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = enrolled.tls.read_bytes()
    pem = Authority().pem if answer == "of another CA" else before
    certificate = pem.decode().partition("-----BEGIN PRIVATE KEY-----")[0]
    monkeypatch.setattr(centre, "renew", lambda *_: RenewalAnswer(certificate))
    clock.advance(timedelta(days=5))

    with pytest.raises(AnswerUnusable):
        renewal.renew_if_due()
    assert enrolled.tls.read_bytes() == before


def test_a_centre_that_does_not_answer_leaves_the_old_one(
    centre: Centre, enrolled: AgentFolder, renewal: CertificateRenewal, clock: FakeClock
) -> None:
    before = enrolled.tls.read_bytes()
    clock.advance(timedelta(days=5))
    centre.stop()
    try:
        with pytest.raises(DoorUnavailable):
            renewal.renew_if_due()
    finally:
        centre.start()
    assert enrolled.tls.read_bytes() == before
