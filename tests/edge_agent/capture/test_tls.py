"""DICOM over TLS with DCMTK's senders: who is let in, who is not, and that nothing else gets through."""

import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.capture.association import Patience
from edge_agent.capture.attempts import Reason
from edge_agent.capture.certificate import make
from edge_agent.capture.listener import DicomListener
from edge_agent.capture.tls import DicomTls, HandshakeFailed, server_context
from shared.audit.events import Event
from shared.dicom import pdu
from shared.dicom.dimse import Status
from shared.policy.document import Modality
from tests.edge_agent.capture.images import load
from tests.edge_agent.capture.test_association import ECHO, STORE, until
from tests.edge_agent.capture.wire import LAST, Peer, associate_request, p_data, pdv
from tests.edge_agent.commitment.world import World
from tests.fakes.centre import open_object
from tests.fakes.dicom_pki import Party, expired, party, party_with_rsa
from tests.fakes.host import Host

pytestmark = pytest.mark.skipif(
    shutil.which("storescu") is None, reason="DCMTK is not installed (Debian package dcmtk)"
)

IMAGE = load("MR_small.dcm")
RELEASE = pdu.release_request()
STATED = re.findall(
    r"`TLS_(ECDHE_\w+)`", (Path(__file__).parents[3] / "docs" / "dicom-conformance.md").read_text(encoding="utf-8")
)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    return tmp_path / "pki"


@pytest.fixture
def ct(pki: Path) -> Party:
    return party(pki, "ct")


@pytest.fixture
def world(tmp_path: Path, pki: Path) -> World:
    return World(Host(tmp_path / "host"), identity=party(pki, "host").chain)


def bound(ct: Party, *addresses: str, ae_title: str = "CT1") -> Modality:
    return Modality(ae_title, "bound", addresses=addresses, certificates=(ct.sha256,))


def dcmtk(program: str, port: int | None, *options: str, file: Path | None = None, calling: str = "CT1") -> int:
    command = [program, "--aetitle", calling, *options, "127.0.0.1", str(port), *([str(file)] if file else [])]
    quiet = subprocess.DEVNULL
    return subprocess.run(command, stdout=quiet, stderr=quiet, timeout=120, check=False).returncode


def tls(ct: Party, host: Path, *more: str) -> list[str]:
    trusted = str(host).replace(".chain.", ".certificate.")
    return ["+tls", str(ct.key), str(ct.certificate), "+cf", trusted, *more]


def echo(world: World, listener: DicomListener, who: Party, calling: str = "CT1", *more: str) -> bool:
    assert world.identity is not None
    return dcmtk("echoscu", listener.tls_port, *tls(who, world.identity, *more), calling=calling) == 0


@contextmanager
def secured(world: World, listener: DicomListener, who: Party, version: ssl.TLSVersion | None = None) -> Iterator[Peer]:
    """Connect as a modality whose PDUs the test writes by hand."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(who.chain)
    context.load_verify_locations(world.identity)
    if version is not None:
        context.maximum_version = version
    assert listener.tls_port is not None
    peer = Peer(listener.tls_port, associate=False)
    peer.socket = context.wrap_socket(peer.socket, server_hostname="localhost")
    try:
        yield peer
    finally:
        peer.close()


def reasons(world: World) -> list[str]:
    return [record.reason for record in world.host.records()]


def test_an_image_comes_over_tls_as_it_would_without(world: World, ct: Party) -> None:
    world.enforce(bound(ct), trust=ct.pem)
    assert world.identity is not None
    with world.running(tls_port=0) as listener:
        options = tls(ct, world.identity, "--propose-uncompr")
        assert dcmtk("storescu", listener.tls_port, *options, file=IMAGE.path) == 0

    (spooled,) = world.host.spool.everything()
    with world.host.spool.open(spooled) as file:
        dataset, _, _ = open_object(file.read(), world.host.signer.public, world.host.keys)
    assert IMAGE.dataset[2000:6000] in dataset


def test_the_certificate_the_title_and_the_address_have_to_belong_together(world: World, ct: Party, pki: Path) -> None:
    mr, stranger = party(pki, "mr"), party(pki, "stranger")
    world.enforce(
        bound(ct, "127.0.0.1"),
        bound(mr, ae_title="MR"),
        Modality("US", "bound to nothing"),
        Modality("AWAY", "elsewhere", addresses=("192.0.2.0/24",)),
        trust=ct.pem + mr.pem,
    )
    with world.running(tls_port=0) as listener:
        let_in = {
            "its own": echo(world, listener, ct),
            "another's title": echo(world, listener, ct, "MR"),
            "another's certificate": echo(world, listener, mr),
            "trusted, of no one's": echo(world, listener, mr, "US"),
            "trusted by nobody": echo(world, listener, stranger, "US"),
            "wrong address": echo(world, listener, ct, "AWAY"),
            "plain where a certificate is bound": dcmtk("echoscu", listener.port) == 0,
            "plain where none is": dcmtk("echoscu", listener.port, calling="US") == 0,
        }

    assert [name for name, is_in in let_in.items() if is_in] == [
        "its own",
        "trusted, of no one's",
        "plain where none is",
    ]
    refused = " ".join(reasons(world))
    for said in ("certificate is not one", "address is not one", "came without", Reason.TLS_FAILED.value):
        assert said in refused


def test_an_expired_certificate_is_refused(world: World, pki: Path) -> None:
    old = expired(pki, "old")
    world.enforce(bound(old), trust=old.pem)
    with world.running(tls_port=0) as listener:
        assert not echo(world, listener, old)

    assert reasons(world) == [Reason.TLS_FAILED.value]
    assert "certificate has expired" in str(world.host.log.events)


def test_no_certificate_is_refused(world: World, ct: Party) -> None:
    world.enforce(bound(ct), trust=ct.pem)
    assert world.identity is not None
    trusted = str(world.identity).replace(".chain.", ".certificate.")
    with world.running(tls_port=0) as listener:
        assert dcmtk("echoscu", listener.tls_port, "--anonymous-tls", "+cf", trusted) != 0


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_what_is_older_than_tls_1_2_is_refused(world: World, ct: Party, version: str) -> None:
    world.enforce(bound(ct), trust=ct.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(ct.chain)
    context.load_verify_locations(world.identity)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.set_ciphers("ALL:@SECLEVEL=0")
    with world.running(tls_port=0) as listener:
        peer = Peer(listener.tls_port or 0, associate=False)
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(peer.socket, server_hostname="localhost")
        peer.close()


def speaks(world: World, listener: DicomListener, who: Party, suite: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(who.chain)
    context.load_verify_locations(world.identity)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{suite}:@SECLEVEL=0")
    peer = Peer(listener.tls_port or 0, associate=False)
    try:
        with context.wrap_socket(peer.socket, server_hostname="localhost") as secured:
            cipher = secured.cipher()
            return cipher is not None and cipher[0] == suite
    except ssl.SSLError:
        return False
    finally:
        peer.close()


def with_key(world: World, pki: Path, suite: str) -> Party:
    """Give the host a certificate with which a suite could be spoken, and return a modality that has one too."""
    made = party if "ECDSA" in suite else party_with_rsa
    world.identity, ct = made(pki, "host").chain, made(pki, "ct")
    world.enforce(bound(ct), trust=ct.pem)
    return ct


def openssl_name(stated: str) -> str:
    name = stated.replace("_WITH", "").replace("AES_", "AES").removesuffix("_SHA256" if "CHACHA" in stated else "")
    return name.replace("_", "-")


@pytest.mark.parametrize("stated", STATED)
def test_each_suite_of_the_conformance_statement_is_spoken(world: World, pki: Path, stated: str) -> None:
    suite = openssl_name(stated)
    ct = with_key(world, pki, suite)
    with world.running(tls_port=0) as listener:
        assert speaks(world, listener, ct, suite)


def test_the_conformance_statement_names_all_of_them(ct: Party) -> None:
    ours = {each["name"] for each in server_context(ct.chain, ct.pem).get_ciphers() if each["protocol"] == "TLSv1.2"}

    assert ours == set(map(openssl_name, STATED))


@pytest.mark.parametrize(
    "suite",
    [
        "ECDHE-ECDSA-AES128-SHA256",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA384",
        "AES128-GCM-SHA256",
        "AES256-SHA",
        "DHE-RSA-AES128-SHA256",
    ],
)
def test_suites_without_aead_or_forward_secrecy_are_refused(world: World, pki: Path, suite: str) -> None:
    ct = with_key(world, pki, suite)
    with world.running(tls_port=0) as listener:
        assert not speaks(world, listener, ct, suite)


def test_control_a_context_with_openssl_s_own_suites_speaks_one_that_is_refused(world: World, pki: Path) -> None:
    def lax(file: Path, trust: str) -> ssl.SSLContext:
        context = server_context(file, trust)
        context.set_ciphers("ALL")
        return context

    world.context = lax
    ct = with_key(world, pki, "AES128-GCM-SHA256")
    with world.running(tls_port=0) as listener:
        assert speaks(world, listener, ct, "AES128-GCM-SHA256")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_the_profile_are_spoken(world: World, ct: Party, version: ssl.TLSVersion) -> None:
    world.enforce(bound(ct), trust=ct.pem)
    with world.running(tls_port=0) as listener, secured(world, listener, ct, version) as peer:
        peer.send(associate_request())
        assert peer.receive()[0] == 2
        peer.send(ECHO)
        assert peer.status() == Status.SUCCESS


def test_control_a_context_that_asks_for_no_certificate_lets_strangers_in(tmp_path: Path, ct: Party, pki: Path) -> None:
    # The negative control: with the demand taken out of the context, the same stranger gets through the handshake.
    def careless(file: Path, trust: str) -> ssl.SSLContext:
        context = server_context(file, trust)
        context.verify_mode = ssl.CERT_NONE
        return context

    ours, stranger = party(pki, "host"), party(pki, "stranger")
    world = World(Host(tmp_path / "host"), identity=ours.chain)
    world.enforce(bound(ct), trust=ct.pem)
    shaken = {}
    for name, context in (("careful", server_context), ("careless", careless)):
        door = DicomTls(ours.chain, make_certificate=lambda: None, policy=world.host.store.in_force, context=context)
        left, right = socket.socketpair()
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.load_cert_chain(stranger.chain)
        client.load_verify_locations(ours.certificate)
        thread = threading.Thread(target=_secure_quietly, args=(door, left))
        thread.start()
        try:
            client.wrap_socket(right, server_hostname="localhost").close()
            shaken[name] = True
        except OSError:
            shaken[name] = False
        thread.join(60)
        left.close()
        right.close()

    assert shaken == {"careful": False, "careless": True}


def _secure_quietly(door: DicomTls, connection: socket.socket) -> None:
    with suppress(HandshakeFailed):  # is for the other end to see
        door.secure(connection, 60).connection.close()
    connection.close()


def test_a_new_policy_s_trust_counts_from_the_next_connection(world: World, ct: Party, pki: Path) -> None:
    mr = party(pki, "mr")
    world.enforce(Modality("CT1", ""), trust=ct.pem)
    with world.running(tls_port=0) as listener:
        before = (echo(world, listener, ct), echo(world, listener, mr))
        world.enforce(Modality("CT1", ""), trust=mr.pem)
        after = (echo(world, listener, ct), echo(world, listener, mr))
        world.enforce(Modality("CT1", ""))
        without = echo(world, listener, mr)

    assert (before, after, without) == ((True, False), (False, True), False)


@dataclass
class Resuming:
    """A modality that offers the session of its last connection, as one in Java does."""

    world: World
    who: Party
    version: ssl.TLSVersion

    def __post_init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.load_cert_chain(self.who.chain)
        self.context.load_verify_locations(self.world.identity)
        self.context.minimum_version = self.context.maximum_version = self.version
        self.session: ssl.SSLSession | None = None

    def resumes(self, listener: DicomListener) -> bool:
        assert listener.tls_port is not None
        peer = Peer(listener.tls_port, associate=False)
        secured = self.context.wrap_socket(peer.socket, server_hostname="localhost", session=self.session)
        peer.socket = secured
        peer.send(associate_request())
        peer.receive()  # what the other side says of tickets comes before it
        peer.send(RELEASE)
        peer.receive()
        self.session, resumed = secured.session, bool(secured.session_reused)
        with suppress(OSError):
            secured.unwrap()  # a session that was cut off is not taken up again
        peer.close()
        return resumed


def test_in_tls_1_3_each_connection_proves_its_certificate_anew(world: World, ct: Party) -> None:
    world.enforce(bound(ct), trust=ct.pem)
    modality = Resuming(world, ct, ssl.TLSVersion.TLSv1_3)
    with world.running(tls_port=0) as listener:
        assert [modality.resumes(listener) for _ in range(3)] == [False] * 3


def test_in_tls_1_2_no_session_outlives_the_trust_it_was_made_under(world: World, ct: Party, pki: Path) -> None:
    world.enforce(bound(ct), trust=ct.pem)
    modality = Resuming(world, ct, ssl.TLSVersion.TLSv1_2)
    with world.running(tls_port=0) as listener:
        before = [modality.resumes(listener) for _ in range(2)]
        world.enforce(bound(ct), trust=ct.pem + party(pki, "mr").pem)
        after = modality.resumes(listener)

    assert (before, after) == ([False, True], False)


def test_our_certificate_is_followed_when_it_is_replaced(world: World, ct: Party, pki: Path) -> None:
    world.enforce(Modality("CT1", ""), trust=ct.pem)
    assert world.identity is not None
    newer = party(pki, "newer")
    with world.running(tls_port=0) as listener:
        before = echo(world, listener, ct)
        world.identity.write_bytes(newer.chain.read_bytes())
        shutil.copy(newer.certificate, str(world.identity).replace(".chain.", ".certificate."))
        after = echo(world, listener, ct)

    assert (before, after) == (True, True)


def test_a_byte_changed_on_the_way_refuses_the_image(world: World, ct: Party) -> None:
    world.enforce(bound(ct), trust=ct.pem)
    with world.running(tls_port=0) as listener, secured(world, listener, ct) as peer:
        peer.send(associate_request())
        peer.receive()
        peer.send(STORE + p_data(pdv(bytes(5000), 0)))
        until(world.host.left_behind)
        # What looks like a record of application data and was not encrypted under the session's keys.
        socket.socket.sendall(peer.socket, b"\x17\x03\x03\x00\x40" + bytes(64))
        until(lambda: Event.IMAGE_REFUSED in world.host.events())

    assert world.host.left_behind() == []
    assert world.host.events() == [Event.IMAGE_REFUSED]


def test_an_end_without_goodbye_within_an_image_refuses_it(world: World, ct: Party) -> None:
    world.enforce(bound(ct), trust=ct.pem)
    with world.running(tls_port=0) as listener, secured(world, listener, ct) as peer:
        peer.send(associate_request())
        peer.receive()
        peer.send(STORE + p_data(pdv(bytes(5000), 0)))
        until(world.host.left_behind)
        socket.socket.shutdown(peer.socket, socket.SHUT_WR)
        until(lambda: Event.IMAGE_REFUSED in world.host.events())

    assert world.host.left_behind() == []


@pytest.mark.parametrize(
    "noise", [b"", b"GET / HTTP/1.1\r\n\r\n", associate_request(), b"\x16\x03\x01\x40\x00" + bytes(9)]
)
def test_a_handshake_that_is_none_ends_in_time_and_holds_up_nobody(world: World, ct: Party, noise: bytes) -> None:
    world.host.patience = Patience(request_s=5)
    world.enforce(bound(ct), trust=ct.pem)
    with world.running(tls_port=0) as listener:
        peer = Peer(listener.tls_port or 0, associate=False)
        peer.send(noise)
        meanwhile = echo(world, listener, ct)
        while peer.receive()[0]:
            pass
        peer.close()
        until(lambda: reasons(world) == [Reason.TLS_FAILED.value])

    assert meanwhile


def test_an_image_in_many_records_and_little_buffers_is_whole(world: World, ct: Party) -> None:
    world.enforce(bound(ct), trust=ct.pem)
    dataset = bytes(range(256)) * 4096
    with world.running(tls_port=0) as listener, secured(world, listener, ct) as peer:
        peer.send(associate_request())
        peer.receive()
        pieces = [p_data(pdv(dataset[start : start + 8000], 0)) for start in range(0, len(dataset), 8000)]
        peer.send(STORE + b"".join(pieces) + p_data(pdv(b"", LAST)))
        assert peer.status() == Status.SUCCESS

    (spooled,) = world.host.spool.everything()
    with world.host.spool.open(spooled) as file:
        assert open_object(file.read(), world.host.signer.public, world.host.keys)[0] == dataset


def test_the_certificate_of_our_own_making_serves(world: World, ct: Party) -> None:
    assert world.identity is not None
    made = make(["127.0.0.1", "localhost"], world.host.clock.now())
    world.identity.write_bytes(b"".join(made))
    world.enforce(bound(ct), trust=ct.pem)
    with world.running(tls_port=0) as listener:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(ct.chain)
        context.load_verify_locations(cadata=made[0].decode())
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        peer = Peer(listener.tls_port or 0, associate=False)
        peer.socket = context.wrap_socket(peer.socket, server_hostname="127.0.0.1")
        peer.send(associate_request())
        assert peer.receive()[0] == 2
        peer.close()
