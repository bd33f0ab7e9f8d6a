"""What strangers and silent clients can do to a door, over real sockets: less than keep anybody else out."""

import json
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.http.serving import Door, DoorNotOpened, WsgiApp
from control_plane.http.streams import MAX_HEADER_BYTES, Arriving
from shared.enrolment.exchange import MAX_BYTES as MAX_ENROLMENT_BYTES
from shared.enrolment.exchange import EnrolmentRequest
from tests.control_plane.http.conftest import Answer, Open
from tests.control_plane.http.test_doors import csr, issue_code, problem
from tests.fakes.dicom_pki import self_signed

_BEGUN_HANDSHAKE = bytes.fromhex("1603010200")


def never_reads(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("409 Conflict", [("Content-Length", "2")])
    return [b"no"]


@pytest.fixture
def careless() -> Iterator[Door]:
    """A door whose application answers without a look at what it was sent."""
    door = Door("careless", never_reads, "127.0.0.1", 0, None, max_body_bytes=16 << 20, threads=1)
    door.open()
    try:
        yield door
    finally:
        door.close()


@contextmanager
def strangers(url: str, number: int, says: bytes) -> Iterator[None]:
    where = urlsplit(url)
    with ExitStack() as stack:
        for _ in range(number):
            stranger = stack.enter_context(socket.create_connection((where.hostname or "", where.port or 0)))
            stranger.sendall(says)
        yield


@pytest.mark.parametrize("says", [b"", _BEGUN_HANDSHAKE], ids=["nothing", "half a greeting"])
def test_clients_who_never_finish_their_handshake_keep_nobody_out(door: Open, says: bytes) -> None:
    with strangers(door.addresses["enrol_url"], 40, says):
        assert door.enrolment("GET", "/ca.pem").status == 200


def test_more_silent_clients_than_a_door_holds_keep_nobody_out(door: Open) -> None:
    with strangers(door.addresses["people_url"], 400, b""):
        assert door.signed_in("GET", "/api/v1/status").status == 200


def test_plain_http_at_a_tls_door_is_told_so(door: Open) -> None:
    where = urlsplit(door.addresses["enrol_url"])
    connection = HTTPConnection(where.hostname or "", where.port, timeout=20)
    connection.request("GET", "/ca.pem")

    assert connection.getresponse().read() == b"this door speaks HTTPS\n"
    connection.close()


def test_tls_before_1_2_is_refused(door: Open) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    where = urlsplit(door.addresses["enrol_url"])

    with (
        socket.create_connection((where.hostname or "", where.port or 0), timeout=20) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)


def test_endless_headers_are_cut_off(door: Open) -> None:
    assert door.people("GET", "/", Endless="x" * 100_000).status == 413


def test_an_announced_body_beyond_all_measure_is_refused_unread(door: Open) -> None:
    with tls(door) as secured:
        secured.sendall(b"POST /api/v1/enrol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")

        assert secured.recv(12) == b"HTTP/1.1 413"


@pytest.mark.parametrize("length", ["-1", "-5", "+2", "0_2", ""])
def test_what_is_no_length_is_refused_before_anything_is_read(careless: Door, length: str) -> None:
    """Else a door would read into memory, from -1 on, whatever a stranger goes on to send."""
    with socket.create_connection(("127.0.0.1", careless.port), timeout=20) as stranger:
        stranger.sendall(f"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode())

        assert stranger.recv(12) == b"HTTP/1.1 400"


def test_what_a_refused_sender_still_sends_is_not_taken_for_its_next_request(careless: Door) -> None:
    smuggled = b"GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n"
    connection = HTTPConnection("127.0.0.1", careless.port, timeout=20)
    connection.request("PUT", "/", smuggled * 50_000)
    answer = connection.getresponse()

    assert (answer.status, answer.read()) == (409, b"no")
    connection.request("PUT", "/", b"")
    assert connection.getresponse().read() == b"no"
    connection.close()


def test_a_body_without_a_length_is_refused_and_ends_the_connection(careless: Door) -> None:
    with socket.create_connection(("127.0.0.1", careless.port), timeout=20) as sender:
        sender.sendall(b"PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        said = b"".join(iter(lambda: sender.recv(4096), b""))

    assert said.startswith(b"HTTP/1.1 411")


_POST = b"POST /api/v1/enrol HTTP/1.1\r\nHost: localhost\r\n"
_DRIPS = {
    "nothing of a line": b"G",
    "a line without end": b"G" * (MAX_HEADER_BYTES + 200),
    "headers": _POST + b"A: b\r\n",
    "a body": _POST + b"Content-Length: 100\r\n\r\n{",
    "a large body": _POST + b"Content-Length: %d\r\n\r\n" % MAX_ENROLMENT_BYTES + bytes(99_999),
    "a body of two lengths": _POST + b"Content-Length: 100\r\ncontent-length : 0\r\n\r\n",
    "a length that goes on": _POST + b"Content-Length: 0\r\n 100\r\n\r\n",
    "a body in chunks": _POST + b"Transfer-Encoding: chunked\r\n\r\n1",
}


def like_enrolment(app: WsgiApp) -> Door:
    """Make a door like that of enrolment with one thread, which would wait for ten minutes."""
    return Door(
        "patient", app, "127.0.0.1", 0, None, max_body_bytes=MAX_ENROLMENT_BYTES,
        most_body_ahead_bytes=MAX_ENROLMENT_BYTES, answers_once=True, threads=1, timeout_s=600,
    )  # fmt: skip


@pytest.fixture
def patient() -> Iterator[Door]:
    door = like_enrolment(never_reads)
    door.open()
    try:
        yield door
    finally:
        door.close()


def answers(door: Door) -> bool:
    """Ask twice: by the second time whoever spoke before has been heard."""
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", door.port), timeout=30) as other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if other.recv(12) != b"HTTP/1.1 409":
                return False
    return True


@pytest.mark.parametrize("says", _DRIPS.values(), ids=_DRIPS)
def test_a_stranger_who_sends_part_of_a_request_keeps_nobody_out(patient: Door, says: bytes) -> None:
    with socket.create_connection(("127.0.0.1", patient.port)) as stranger:
        stranger.sendall(says)

        assert answers(patient)


def says_much(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("409 Conflict", [("Content-Length", "16384")])
    return [bytes(16_384)]


def test_a_stranger_who_reads_no_answer_keeps_nobody_out() -> None:
    door = like_enrolment(says_much)
    door.open()
    try:
        with socket.create_connection(("127.0.0.1", door.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)

            # Each would have one more go out to the stranger, until no more fits on the way.
            assert all(answers(door) for _ in range(400))
    finally:
        door.close()


@pytest.mark.parametrize("says", [_DRIPS["headers"], _DRIPS["a large body"]], ids=["headers", "a body"])
def test_at_the_enrolment_door_a_host_is_answered_before_who_drips_is_given_up(door: Open, says: bytes) -> None:
    def is_answered_first() -> bool:
        with ExitStack() as stack:
            strangers = [stack.enter_context(tls(door)) for _ in range(9)]
            for stranger in strangers:
                stranger.sendall(says)
            assert door.enrolment("GET", "/ca.pem").status == 200
            return not any(is_answered(stranger) for stranger in strangers)

    # A machine that is busy enough has given them up by then.
    assert any(is_answered_first() for _ in range(3))


def is_answered(stranger: ssl.SSLSocket) -> bool:
    stranger.settimeout(0)
    try:
        stranger.recv(1)
    except ssl.SSLWantReadError:
        return False
    except OSError:
        return True
    return True


_LINES = [
    b"GET / HTTP/1.1", b"GET /", b"Host: h", b"Content-Length: 5", b"content-length : 0", b"\tContent-Length: 70",
    b" 7", b"X: content-length: 9", b"Content-Length: 1,5", b"Transfer-Encoding: chunked", b"Expect: 100-continue",
    b"Connection: close", b"", b"12345", b"\xff",
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(_LINES), st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r", b""])), max_size=8))
def test_whatever_a_stranger_says_the_only_thread_waits_for_nothing(
    patient: Door, said: list[tuple[bytes, bytes]]
) -> None:
    with socket.create_connection(("127.0.0.1", patient.port)) as stranger:
        stranger.sendall(b"".join(line + end for line, end in said) or b" ")

        assert answers(patient)


def test_more_strangers_than_a_door_holds_keep_nobody_out(door: Open) -> None:
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(tls(door)).sendall(b"GET")

        assert door.enrolment("GET", "/ca.pem").status == 200


def test_negative_control_a_thread_that_waits_for_a_request_answers_nobody_else(
    careless: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Event()

    def at_its_first_byte(arriving: Arriving) -> bool:
        if arriving.held:
            begun.set()
        return bool(arriving.held)

    monkeypatch.setattr(Arriving, "has_arrived", property(at_its_first_byte))
    with ExitStack() as stack:
        stranger, other = (
            stack.enter_context(socket.create_connection(("127.0.0.1", careless.port), timeout=20)) for _ in range(2)
        )
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert begun.wait(60)
        other.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        other.settimeout(1)
        with pytest.raises(TimeoutError):
            other.recv(12)

        stranger.sendall(b"\r\n")
        other.settimeout(20)
        assert other.recv(12) == b"HTTP/1.1 409"


def test_who_drips_a_request_has_as_long_as_a_silent_one_and_no_longer() -> None:
    door = Door("hurried", never_reads, "127.0.0.1", 0, None, max_body_bytes=1, threads=1, timeout_s=1)
    door.open()
    try:
        with socket.create_connection(("127.0.0.1", door.port)) as stranger:
            stranger.settimeout(0.1)
            said = b""
            while not said:
                stranger.sendall(b"G")
                with suppress(TimeoutError):
                    said = stranger.recv(4096)
        assert said.startswith(b"HTTP/1.1 408")
    finally:
        door.close()


def test_who_drips_a_handshake_has_no_longer(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path, "door", ends=timedelta(days=1)).chain)
    door = Door("hurried", never_reads, "127.0.0.1", 0, context, max_body_bytes=1, threads=1, timeout_s=1)
    door.open()
    try:
        with socket.create_connection(("127.0.0.1", door.port)) as stranger:
            stranger.settimeout(0.1)
            stranger.sendall(_BEGUN_HANDSHAKE)
            assert any(is_closed(stranger) for _ in range(100))
    finally:
        door.close()


def is_closed(stranger: socket.socket) -> bool:
    """Send one byte more of a greeting, and say whether that was one too many."""
    try:
        stranger.sendall(b"\0")
        return stranger.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_port_that_is_taken_is_named_with_its_door() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(
            DoorNotOpened, match=f"^the door of people cannot be opened on port {port}: Address already"
        ):
            Door("people", never_reads, "127.0.0.1", port, None, max_body_bytes=1)


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1.evil.example", "[", "localhost:x", "user@localhost"])
def test_only_loopback_names_reach_the_people_door(door: Open, host: str) -> None:
    assert door.people("GET", "/", Host=host).status in {400, 421}


def test_somebody_who_guesses_tokens_does_not_lock_out_who_has_one(door: Open) -> None:
    guesses = [door.people("GET", "/api/v1/status", Authorization=f"Bearer guess-{n}") for n in range(12)]

    assert [answer.status for answer in guesses] == [401] * 10 + [429] * 2
    assert int(guesses[-1].headers["Retry-After"]) > 0
    assert guesses[0].headers["WWW-Authenticate"] == "Bearer"
    assert door.signed_in("GET", "/api/v1/status").status == 200


def test_junk_at_the_enrolment_door_does_not_fill_the_audit_log(door: Open) -> None:
    junk = "-----BEGIN JUNK-----\nAAAA\n-----END JUNK-----\n"
    answers = [door.enrolment("POST", "/api/v1/enrol", EnrolmentRequest(bytes(16), junk, junk, "x").encode())
               for _ in range(13)]  # fmt: skip

    assert [answer.status for answer in answers] == [400] * 10 + [429] * 3
    assert refused_enrolments(door) == 10


def refused_enrolments(door: Open) -> int:
    answer: Answer = door.signed_in("GET", "/api/v1/audit/records?source=control-plane&limit=1000")
    return sum(record["event"] == "enrolment.refused" for record in json.loads(answer.body)["records"])


def test_an_asset_named_with_control_characters_gets_no_code(door: Open) -> None:
    answer = door.signed_in("POST", "/api/v1/enrolment/codes", b'{"asset": "CT\\t2"}')

    assert answer.status == 422
    assert str(problem(answer)["detail"]).startswith("asset: ")


def test_an_object_that_is_not_there_is_not_found(door: Open) -> None:
    answer = door.signed_in("POST", f"/api/v1/objects/{'0' * 32}/open", b'{"reason": "second opinion"}')

    assert answer.status == 404
    assert problem(answer)["error"] == "ObjectUnknown"


def test_a_flood_from_one_address_does_not_keep_out_a_host_at_another(door: Open) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    request = EnrolmentRequest(issue_code(door).secret, csr(keys[0]), csr(keys[1]), "CT 2")

    for _ in range(11):
        door.enrolment("POST", "/api/v1/enrol", b"{}")

    with tls(door, source="127.0.0.2") as secured:
        body = request.encode()
        secured.sendall(
            f"POST /api/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        assert secured.recv(12) == b"HTTP/1.1 200"


def test_brute_force_on_codes_from_many_addresses_is_slowed_at_the_door(door: Open) -> None:
    """The control is an address that has not failed yet: it is heard, and its wrong code looked at."""
    junk = b"POST /api/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"

    def guess(source: str) -> bytes:
        with tls(door, source=source) as secured:
            secured.sendall(junk)
            return secured.recv(12)

    answers = [guess(f"127.0.1.{number // 9}") for number in range(63)]

    # Of the sixty a minute, ten may be what another test left at this door.
    assert set(answers[:50]) == {b"HTTP/1.1 400"}
    assert guess("127.0.1.6") == b"HTTP/1.1 429"
    assert guess("127.0.2.1") == b"HTTP/1.1 400"
    assert guess("127.0.2.1") == b"HTTP/1.1 429"


@contextmanager
def tls(door: Open, *, source: str = "127.0.0.1") -> Iterator[ssl.SSLSocket]:
    """Yield a connection to the enrolment door from an address of its own, with nothing said yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    where = urlsplit(door.addresses["enrol_url"])
    address = (where.hostname or "", where.port or 0)
    with (
        socket.create_connection(address, source_address=(source, 0), timeout=20) as plain,
        context.wrap_socket(plain) as secured,
    ):
        yield secured
