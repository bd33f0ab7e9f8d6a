"""Batches are answered before Flask is asked, and nobody can tell but by the time that it takes."""

import gc
import json
import logging
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPSConnection
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from flask import Response, request
from werkzeug.exceptions import LengthRequired
from werkzeug.test import Client

from control_plane.checkpoints.forgotten import ForgottenCertificates
from control_plane.db.engine import close_database, open_database
from control_plane.db.place import url_of
from control_plane.enrolment.certified import bar
from control_plane.enrolment.standing import Act
from control_plane.fleet.states import HostUnknown
from control_plane.http.batches import PATH, Batches, Environ, failed
from control_plane.http.host_door import host_door
from control_plane.http.host_identity import HostIdentities
from control_plane.http.problems import new_app
from shared.audit.batch import MAX_BYTES, AuditGap, Batch, ChainHead, sign_batch
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.record import GENESIS, compose
from shared.clock import SystemClock
from shared.errors import Malformed
from shared.fleet.receipt import RESTORED_HEADER
from shared.signing import SoftwareSigner
from tests.control_plane.http.conftest import Open, ask
from tests.control_plane.http.test_doors import EnrolledHost, Trusting, host, problem
from tests.control_plane.http.test_host_renewal import Dribbling
from tests.control_plane.http.test_hosts_life import post
from tests.shared.made import NOW

__all__ = ["host"]
_SAID = (("Leadglass-Reads", "batches"),)


def standing_before_an_app(take: Callable[[Environ], int]) -> Client:
    app = new_app("a door", ((Malformed, 422),))

    @app.post(PATH)
    def post_batch() -> Response:
        raise failed(request.environ)

    @app.get("/api/v1/other")
    def other() -> dict[str, str]:
        return {"other": "as ever"}

    return Client(Batches(app.wsgi_app, take, _SAID))


def test_what_is_taken_is_answered_as_flask_would() -> None:
    answer = standing_before_an_app(lambda environ: len(environ["wsgi.input"].read())).post(PATH, data=b"12345")

    assert (answer.status, answer.data) == ("200 OK", b'{"held":5}\n')
    assert dict(answer.headers) == {"Content-Type": "application/json", "Content-Length": "11", **dict(_SAID)}


@pytest.mark.parametrize(
    "error, status, members",
    [
        (Malformed("audit batch", "no batch"), 422, {"error": "Malformed"}),
        (AuditGap("host-1", held=3, offered=5), 409, {"error": "AuditGap", "held": 3}),
        (LengthRequired(), 411, {"title": "Length Required"}),
    ],
)
def test_what_is_refused_is_answered_by_the_application(
    error: Exception, status: int, members: dict[str, object]
) -> None:
    answer = standing_before_an_app(raising(error)).post(PATH)

    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert json.loads(answer.data).items() >= members.items()


def test_a_bug_is_logged_and_its_words_are_kept_from_the_sender(caplog: pytest.LogCaptureFixture) -> None:
    bug = ValueError("what only the log may say")
    with caplog.at_level(logging.ERROR):
        answer = standing_before_an_app(raising(bug)).post(PATH)

    assert answer.status_code == 500
    assert b"only the log" not in answer.data
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [bug]


def test_what_was_refused_is_let_go_of_with_its_answer() -> None:
    """Else sixteen megabytes stay with each refusal until the collector comes, which counts objects and no bytes."""

    class Sent:
        pass

    def take(_environ: Environ) -> int:
        sent = Sent()
        held.append(weakref.ref(sent))
        raise Malformed("audit batch", "no batch")

    held, client = list["weakref.ref[Sent]"](), standing_before_an_app(take)
    with no_collector():
        assert client.post(PATH).status_code == 422
        assert held[0]() is None


@contextmanager
def no_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_whatever_is_no_batch_is_the_applications() -> None:
    client = standing_before_an_app(raising(AssertionError("it was asked for")))

    assert client.get("/api/v1/other").json == {"other": "as ever"}
    assert client.get(PATH).status_code == 405
    assert client.post(PATH + "/").status_code == 404


def raising(error: Exception) -> Callable[[Environ], int]:
    def take(_environ: Environ) -> int:
        raise error

    return take


@pytest.mark.parametrize(
    "body, headers, status, said",
    [
        (b"no batch", {}, 422, "Malformed"),
        (bytes(MAX_BYTES + 1), {}, 413, f"at most {MAX_BYTES} bytes are taken here"),
        # Nothing follows it, for the door has closed by then.
        (None, {"Transfer-Encoding": "chunked"}, 411, "Length"),
    ],
    ids=["no batch", "too large", "no length"],
)
def test_a_host_hears_over_its_door_why_a_batch_was_not_taken(
    door: Open,
    host: EnrolledHost,
    trusting: Trusting,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
    said: str,
) -> None:
    context = host.identify(trusting(), host.answer.tls_certificate, host.tls)
    answer = ask(door._tls("hosts_url", context), "POST", PATH, body, headers)

    assert answer.status == status
    assert said in str(problem(answer))
    assert answer.headers["Leadglass-Reads"] == "budget, packed-audit-batch, receipts"


def test_what_a_host_sends_in_chunks_is_not_taken_for_its_next_request(
    door: Open, host: EnrolledHost, trusting: Trusting
) -> None:
    smuggled = b"GET /second HTTP/1.1\r\nHost: h\r\n\r\n"
    connection = door._tls("hosts_url", host.identify(trusting(), host.answer.tls_certificate, host.tls))
    connection.request("POST", PATH, iter([smuggled]), encode_chunked=True)
    answer = connection.getresponse()

    assert (answer.status, answer.headers["Connection"]) == (411, "close")
    answer.read()
    assert connection.sock is None, "nothing follows"


def test_that_the_centre_was_restored_is_said_with_a_batch_that_is_taken_as_with_one_that_is_not(
    door: Open, host: EnrolledHost
) -> None:
    client = Client(host_door(replace(door.centre._host_services(), restored="after a restore")))
    batch = a_batch(host).encode()

    answers = [client.post(PATH, data=data, environ_overrides=shown_by(host)) for data in (batch, b"no batch")]

    assert [answer.status_code for answer in answers] == [200, 422]
    assert [answer.headers[RESTORED_HEADER] for answer in answers] == ["after a restore"] * 2


def a_batch(host: EnrolledHost) -> Batch:
    source = str(host.answer.host_id)
    started = Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS)
    stored = compose(started, source=source, seq=1, prev=ChainHead().leaf, time=NOW, salt=bytes(32), key=None)
    return sign_batch(source, GENESIS, [stored], SoftwareSigner(host.evidence))


def shown_by(host: EnrolledHost) -> dict[str, str]:
    """Return what a door says of the TLS session of `host`."""
    leaf = x509.load_pem_x509_certificate(host.answer.tls_certificate.encode())
    return {"SSL_CLIENT_CERT": leaf.public_bytes(Encoding.PEM).decode(), "SSL_CLIENT_VERIFY": "SUCCESS"}


@pytest.mark.parametrize("announced, refused", [(16, 0), (8, 1)], ids=["cut off", "control: all of it came"])
def test_a_batch_that_breaks_off_is_no_refused_one(
    door: Open, host: EnrolledHost, trusting: Trusting, announced: int, refused: int
) -> None:
    """Else the status would have somebody look at a machine whose network failed once."""
    to, context = (
        urlsplit(str(door.addresses["hosts_url"])),
        host.identify(trusting(), host.answer.tls_certificate, host.tls),
    )
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {announced}\r\n\r\n"
    with (
        socket.create_connection((to.hostname or "", to.port or 0), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=to.hostname) as secured,
    ):
        secured.sendall(head.encode() + b"no batch")
        socket.socket.shutdown(secured, socket.SHUT_WR)
        # Beneath TLS, which ends with what was cut off; the door ends the connection when it is done with it.
        while socket.socket.recv(secured, 4096):
            pass

    log = json.loads(door.signed_in("GET", "/api/v1/audit/records?source=control-plane&limit=1000").body)["records"]
    assert [one["event"] for one in log if one["who"][0]["name"] == str(host.answer.host_id)].count(
        Event.AUDIT_REFUSED
    ) == refused


@pytest.mark.parametrize("barred, status", [(True, 403), (False, 200)], ids=["barred", "control: nothing happens"])
def test_who_sends_slowly_is_not_let_in_by_what_held_when_it_began(
    door: Open, host: EnrolledHost, *, barred: bool, status: int
) -> None:
    def meanwhile() -> None:
        if barred:
            with door.centre._database.begin() as session:
                bar(session, host.answer.host_id, SystemClock().now())

    batch = a_batch(host).encode()
    answer = Client(door.centre._doors["hosts"]._server.wsgi_app).post(
        PATH, content_length=len(batch), input_stream=Dribbling(batch, meanwhile), environ_overrides=shown_by(host)
    )

    assert answer.status_code == status


def test_a_revoked_host_is_refused_at_its_next_batch_by_every_worker_on_whatever_connection(
    door: Open, host: EnrolledHost, trusting: Trusting
) -> None:
    connection = door._tls("hosts_url", host.identify(trusting(), host.answer.tls_certificate, host.tls))
    shown, database = shown_by(host), open_database(url_of(door.folders))
    another = HostIdentities(database, SystemClock(), ForgottenCertificates(database, door.centre._journal))
    assert next_refusal(connection) == "Malformed"
    assert another.sender(shown, Act.DELIVER).host_id == host.answer.host_id

    assert post(door, f"/api/v1/hosts/{host.answer.host_id}/revocation", {"reason": "stolen"}).status == 201

    assert next_refusal(connection) == "HostUnknown"
    with pytest.raises(HostUnknown):
        another.sender(shown, Act.DELIVER)
    connection.close()
    close_database(database)


def next_refusal(connection: HTTPSConnection) -> object:
    connection.request("POST", PATH, b"no batch")
    return json.loads(connection.getresponse().read())["error"]
