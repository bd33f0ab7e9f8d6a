"""A root comes to its end while a host is away: the whole way, with the commands that people give and real doors."""

import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from control_plane.__main__ import main
from control_plane.app import ControlPlane
from control_plane.enrolment.profiles import make_root
from control_plane.enrolment.root_key import load_key_file
from control_plane.first_start import HandedOver
from control_plane.policy.authoring import load_credential
from control_plane.settings import Folders, Settings
from edge_agent.config import AgentFolder, load_identity
from edge_agent.enrol.enroller import enrol
from edge_agent.enrol.lapsed import Asking
from edge_agent.enrol.pinned import PinnedRoot, fingerprint
from edge_agent.enrol.renewal import CertificateRenewal
from edge_agent.https import DoorUnavailable, HttpsDoor, fetch_unverified, verified_context
from shared.clock import SystemClock
from shared.enrolment.chain import ChainBroken, organisation, parse_chain, pem_of, verify_chain
from tests.control_plane.begun import begun
from tests.control_plane.http.conftest import Open
from tests.control_plane.http.test_doors import issue_code
from tests.fakes.authority import NOW, new_key
from tests.fakes.log import MemoryLog
from tests.fakes.ports import free_ports

LONG_AGO = NOW.replace(year=1990)


@dataclass
class Hospital:
    """A centre that can be stopped and started at one address, whoever holds its root's key, and a host."""

    folder: Path
    made: HandedOver
    ports: list[int] = field(default_factory=lambda: free_ports(2))
    running: ControlPlane | None = None

    @property
    def host(self) -> AgentFolder:
        return AgentFolder(self.folder / "host")

    def start(self, host: str = "127.0.0.1") -> Open:
        folders = Folders(self.folder / "data")
        settings = Settings(
            folders, host=host, host_port=self.ports[0], enrol_port=self.ports[1], people_port=0, with_broker=False
        )
        self.running = ControlPlane(settings, SystemClock())
        self.running.start()
        credential = load_credential(self.made.credential)
        return Open(self.running, folders, self.made, credential, self.running.addresses())

    def stop(self) -> None:
        if self.running is not None:
            self.running.stop()
        self.running = None

    def command(self, *arguments: str | Path) -> None:
        assert main(["authority", *map(str, arguments)]) == 0

    def rotate_root(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Do what the administrator's guide says, at both places."""
        at, who = ("--data", self.folder / "data"), ("--as", self.made.credential)
        capsys.readouterr()
        self.command("show", "--pem", *at)
        (self.folder / "roots.pem").write_text(capsys.readouterr().out)
        new_key_file = self.folder / "new-root-key.pem"
        self.command(
            "rotate-root", "--root", self.folder / "roots.pem", "--key", self.made.root_key or "",
            "--new-key", new_key_file, "--out", self.folder / "new-root.pem", "--yes",
        )  # fmt: skip
        self.command("install", self.folder / "new-root.pem", *at, *who)
        self.command("request", "--out", self.folder / "request.pem", *at, *who)
        self.command(
            "sign", self.folder / "request.pem", "--key", new_key_file, "--out", self.folder / "signed.pem", "--yes"
        )
        self.command("install", self.folder / "signed.pem", *at, *who)

    def ages(self, key: ec.EllipticCurvePrivateKey | None = None) -> None:
        """Have the root that the host pinned run out, as it does in twenty years; or be another's of that name."""
        assert self.made.root_key is not None
        key, (pinned, *_) = key or load_key_file(self.made.root_key), parse_chain(self.host.ca.read_bytes(), "pinned")
        self.host.ca.write_bytes(pem_of([make_root(key, organisation(pinned) or "", LONG_AGO)]))

    def pinned(self, context: ssl.SSLContext, noted: list[str]) -> PinnedRoot:
        port = load_identity(self.host).config.doors.enrol_port or 0
        return PinnedRoot(
            self.host.ca, load_identity(self.host).trust,
            fetch=lambda: fetch_unverified("127.0.0.1", port, "/roots.pem"),
            contexts=[context], log=MemoryLog(), note=noted.append,
        )  # fmt: skip

    def renewal(self, fetch: Callable[[], bytes] | None = None) -> tuple[CertificateRenewal, HttpsDoor]:
        identity, (door, context) = load_identity(self.host), self.door()
        root = self.pinned(context, [])
        if fetch is not None:
            root = PinnedRoot(
                self.host.ca, identity.trust, fetch=fetch, contexts=[context], log=MemoryLog(), note=lambda _: None
            )
        part = CertificateRenewal(
            door, self.host, identity.keys, host_id=identity.config.host_id,
            asking=Asking(self.host, identity, SystemClock(), MemoryLog()), present=identity.tls_certificate, root=root,
            contexts=[context], clock=SystemClock(), log=MemoryLog(),
        )  # fmt: skip
        return part, door

    def door(self) -> tuple[HttpsDoor, ssl.SSLContext]:
        context = verified_context(self.host.ca, self.host.tls)
        return HttpsDoor("127.0.0.1", self.ports[0], context), context


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    hospital = Hospital(tmp_path, begun(tmp_path)[1])
    hospital.host.path.mkdir()
    opened = hospital.start()
    enrol(hospital.host, str(opened.addresses["enrol_url"]), issue_code(opened), "CT 2")
    hospital.stop()
    try:
        yield hospital
    finally:
        hospital.stop()


def test_an_expired_root_is_rotated_and_a_host_that_was_away_follows(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital.rotate_root(capsys)
    hospital.ages()
    opened, noted = hospital.start(), list[str]()
    door, context = hospital.door()
    with pytest.raises(DoorUnavailable, match="expired"):
        door.get("/api/v1/policy/head")
    followed = hospital.pinned(context, noted).follow()
    after = load_identity(hospital.host)

    assert followed
    assert door.get("/api/v1/policy/head").status == 404
    fresh, _ = hospital.door()
    assert fresh.get("/api/v1/policy/head").status == 404
    assert noted == [fingerprint(after.trust.roots[0])]
    assert noted == [issue_code(opened).ca_sha256.hex()]
    evidence, *between = parse_chain((hospital.host.identity / "evidence.crt").read_bytes(), "evidence")
    verify_chain(evidence, after.trust, between)
    door.close()
    fresh.close()


def test_a_link_that_the_pinned_root_did_not_sign_is_refused(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital.rotate_root(capsys)
    hospital.ages(new_key())
    hospital.start()
    before = hospital.host.ca.read_bytes()
    door, context = hospital.door()

    with pytest.raises(ChainBroken, match="nothing signed by the root pinned here"):
        hospital.pinned(context, []).follow()
    assert hospital.host.ca.read_bytes() == before
    with pytest.raises(DoorUnavailable):
        door.get("/api/v1/policy/head")


def test_a_host_whose_root_still_holds_notices_nothing_and_follows_too(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital.rotate_root(capsys)
    hospital.start()
    door, context = hospital.door()
    noted: list[str] = []
    before = door.get("/api/v1/policy/head").status
    door.close()
    root = hospital.pinned(context, noted)
    followed, again = root.follow(), root.follow()

    assert (before, followed, again, len(noted)) == (404, True, False, 1)
    assert door.get("/api/v1/policy/head").status == 404
    door.close()


def test_the_agent_s_renewal_follows_by_itself_once_the_pinned_root_has_ended(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital.rotate_root(capsys)
    hospital.ages()
    hospital.start()
    part, door = hospital.renewal()

    assert not part.renew_if_due()
    assert door.get("/api/v1/policy/head").status == 404
    door.close()


def test_a_renewal_takes_the_new_root_and_a_certificate_of_the_new_issuing_key(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital.rotate_root(capsys)
    hospital.start()
    before = load_identity(hospital.host)
    part, door = hospital.renewal()
    renewed = part.renew()
    after = load_identity(hospital.host)

    assert after.trust.roots != before.trust.roots
    assert renewed.issuer != before.tls_certificate.issuer
    door.close()


def test_a_centre_that_shows_no_roots_does_not_keep_a_host_from_renewing(hospital: Hospital) -> None:
    hospital.start()
    part, door = hospital.renewal(fetch=lambda: b"nothing of use")
    before = load_identity(hospital.host).tls_certificate

    assert part.renew() != before
    door.close()


def test_the_root_s_key_is_handed_over_for_its_owner_only_and_is_nowhere_else(hospital: Hospital) -> None:
    file = hospital.made.root_key
    assert file is not None
    key = load_key_file(file)
    secret = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    number = key.private_numbers().private_value.to_bytes(32)

    assert (file.name, file.stat().st_mode & 0o777) == ("authority-root-key.pem", 0o600)
    kept = [path.read_bytes() for path in (hospital.folder / "data").rglob("*") if path.is_file()]
    assert kept
    assert not any(found in data for data in kept for found in (number, secret, b"BEGIN PRIVATE KEY"))


def test_a_further_name_of_the_machine_is_asked_for_signed_and_served(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    at, who = ("--data", hospital.folder / "data"), ("--as", hospital.made.credential)
    request, signed = hospital.folder / "request.pem", hospital.folder / "signed.pem"
    hospital.command("request", "--host", "localhost.example", "--out", request, *at, *who)
    hospital.command("sign", request, "--key", hospital.made.root_key or "", "--out", signed, "--yes")
    told = capsys.readouterr().out
    hospital.command("install", signed, *at, *who)
    hospital.start()
    port = hospital.ports[0]
    context = verified_context(hospital.host.ca, hospital.host.tls)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost.example") as secured,
    ):
        certificate: Any = secured.getpeercert()
    names = {value for _, value in certificate["subjectAltName"]}

    hospital.stop()
    hospital.start("localhost.example")
    assert "localhost.example" in told
    assert names == {"127.0.0.1", "localhost", "localhost.example"}
