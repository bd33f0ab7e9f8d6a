"""Enrolment: the host judges the centre first, the identity is stored whole, a code works once."""

import os
import stat
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509

from edge_agent.config import AgentFolder, HostConfig, NotEnrolled, load_config, load_identity
from edge_agent.enrol import enroller
from edge_agent.enrol.enroller import CodeRefused, enrol
from edge_agent.enrol.judge import AnswerUnusable, StrangeCentre
from edge_agent.enrol.store import AlreadyEnrolled, IdentityNotStored, IdentityUnreadable, store
from edge_agent.https import CertificateUnusable, DoorUnavailable, verified_context
from shared.enrolment.chain import parse_chain, pem_of
from shared.enrolment.code import EnrolmentCode
from shared.enrolment.exchange import Doors, EnrolmentAnswer, EnrolmentRequest
from shared.errors import Malformed
from shared.fleet.keys import KeyProtection
from tests.fakes.centre import Authority, Centre
from tests.fakes.dicom_pki import of_version_41
from tests.vectors.given import TRUST


def test_leaves_an_identity_that_the_agent_can_load(centre: Centre, tmp_path: Path) -> None:
    folder = AgentFolder(tmp_path / "agent")
    host_id = enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2, room 1.14")

    identity = load_identity(folder)
    assert (identity.config.host_id, identity.config.asset) == (host_id, "CT 2, room 1.14")
    assert identity.signer.public == centre.evidence[str(host_id)]
    assert identity.config.policy_root == centre.signers.root


def test_two_keys_and_nothing_that_others_may_read(centre: Centre, enrolled: AgentFolder) -> None:
    files = {path.name: path for path in enrolled.identity.iterdir()}

    assert set(files) == {"tls.pem", "evidence.key", "evidence.crt", "ca.pem", "host.json"}
    assert files["evidence.key"].read_bytes() not in files["tls.pem"].read_bytes()
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert stat.S_IMODE(enrolled.identity.stat().st_mode) == 0o700


def test_a_centre_with_another_ca_is_sent_nothing(centre: Centre, tmp_path: Path) -> None:
    code = EnrolmentCode(centre.issue_code().secret, bytes(32))

    with pytest.raises(StrangeCentre):
        enrol(AgentFolder(tmp_path / "agent"), centre.enrol_url, code, "CT 2")
    assert centre.requests == ["GET /ca.pem"]
    assert not (tmp_path / "agent").exists()


def test_forged_fingerprint(centre: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An impostor's own authority, at the address and with the server's certificate, is sent nothing.

    The control is a host that does not compare: it sends the impostor the secret of the code.
    """
    folder = tmp_path / "impostor"
    folder.mkdir()
    impostor, code = Centre(folder), centre.issue_code()
    impostor.start()
    try:
        with pytest.raises(StrangeCentre) as refusal:
            enrol(AgentFolder(tmp_path / "agent"), impostor.enrol_url, code, "CT 2")
        assert (refusal.value.found, refusal.value.expected) == (impostor.authority.fingerprint, code.ca_sha256)
        assert impostor.requests == ["GET /ca.pem"]
        monkeypatch.setattr(enroller, "verify_centre", lambda pem, _code: parse_chain(pem, "CA certificate")[0])
        with pytest.raises(CodeRefused):
            enrol(AgentFolder(tmp_path / "agent"), impostor.enrol_url, code, "CT 2")
        assert impostor.requests[-1] == "POST /api/v1/enrol"
    finally:
        impostor.stop()


def test_a_stranger_who_shows_the_true_ca_but_has_no_certificate_of_it_is_sent_nothing(
    centre: Centre, tmp_path: Path
) -> None:
    code = centre.issue_code()
    centre.stop()
    impostor = Centre(tmp_path / "impostor")
    impostor.folder.mkdir()
    impostor.start()
    impostor.authority = centre.authority

    with pytest.raises(DoorUnavailable):
        enrol(AgentFolder(tmp_path / "agent"), impostor.enrol_url, code, "CT 2")
    assert impostor.requests == ["GET /ca.pem"]
    impostor.stop()
    centre.start()


def test_a_code_works_once(centre: Centre, tmp_path: Path) -> None:
    code = centre.issue_code()
    enrol(AgentFolder(tmp_path / "first"), centre.enrol_url, code, "CT 2")

    with pytest.raises(CodeRefused):
        enrol(AgentFolder(tmp_path / "second"), centre.enrol_url, code, "CT 3")
    assert not (tmp_path / "second").exists()


def test_an_enrolled_host_refuses_and_keeps_its_identity(centre: Centre, enrolled: AgentFolder) -> None:
    before = {path.name: path.read_bytes() for path in enrolled.identity.iterdir()}
    code = centre.issue_code()

    with pytest.raises(AlreadyEnrolled):
        enrol(enrolled, centre.enrol_url, code, "CT 2")
    assert {path.name: path.read_bytes() for path in enrolled.identity.iterdir()} == before
    assert code.secret in centre.codes


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:1", "https://", "https://a:b", "https://a:1/path"])
def test_refuses_an_address_that_is_not_https(url: str, centre: Centre, tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        enrol(AgentFolder(tmp_path / "agent"), url, centre.issue_code(), "CT 2")


class Answering(Centre):
    """A centre that changes its answer before giving it."""

    def enrol(self, sent: EnrolmentRequest) -> EnrolmentAnswer | None:
        answer = super().enrol(sent)
        return None if answer is None else self.change(answer)

    def change(self, answer: EnrolmentAnswer) -> EnrolmentAnswer:
        return answer


def first_of(chain: str) -> str:
    return pem_of(parse_chain(chain.encode(), "chain")[:1]).decode()


def changed(answer: EnrolmentAnswer, **fields: object) -> EnrolmentAnswer:
    return EnrolmentAnswer(**{**answer.__dict__, **fields})


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda a: changed(a, tls_certificate=a.evidence_certificate), "another key"),
        (lambda a: changed(a, evidence_certificate=a.tls_certificate), "another key"),
        (lambda a: changed(a, tls_certificate=Authority().pem.decode()), "not issued"),
        (lambda a: changed(a, tls_certificate=of_version_41(first_of(a.tls_certificate))), "not issued"),
        (lambda a: changed(a, host_id=type(a.host_id).new()), "another host"),
        (lambda a: changed(a, layers=("organisation", "site")), "policy layers"),
        (lambda a: changed(a, layers=("site-north", "organisation")), "policy layers"),
        (lambda a: changed(a, layers=("organisation", "organisation")), "policy layers"),
        (lambda a: changed(a, layers=("organisation", "site-")), "policy layers"),
        (lambda a: changed(a, layers=("organisation", "site-north", "site-south")), "more than one layer site-"),
        (lambda a: changed(a, layers=()), "policy layers"),
    ],
)
def test_an_answer_that_is_no_identity_for_our_keys_is_refused(
    change: object, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answering, "change", lambda self, answer: change(answer))  # type: ignore[operator]
    (tmp_path / "centre").mkdir()
    centre = Answering(tmp_path / "centre")
    centre.start()
    try:
        with pytest.raises(AnswerUnusable, match=why):
            enrol(AgentFolder(tmp_path / "agent"), centre.enrol_url, centre.issue_code(), "CT 2")
    finally:
        centre.stop()
    assert not (tmp_path / "agent").exists()


def test_a_disk_that_fails_leaves_no_half_identity(tmp_path: Path) -> None:
    with pytest.raises(IdentityNotStored):
        store(tmp_path / "identity", {"good": b"x", "folder/that/is/not/there": b"x"})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_spends_no_code(centre: Centre, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    code = centre.issue_code()

    with pytest.raises(IdentityNotStored, match="Not a directory; the code was not sent"):
        enrol(AgentFolder(tmp_path / "file"), centre.enrol_url, code, "CT 2, room 1.14")
    assert not [request for request in centre.requests if request.startswith("POST")]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    enrol(AgentFolder(tmp_path / "agent"), centre.enrol_url, code, "CT 2, room 1.14")


def test_a_port_that_speaks_no_tls_is_named_as_one(centre: Centre, tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as plain:
        thread = threading.Thread(target=plain.serve_forever)
        thread.start()
        try:
            with pytest.raises(DoorUnavailable, match="does not speak TLS; is it this door's port"):
                enrol(
                    AgentFolder(tmp_path / "a"), f"https://127.0.0.1:{plain.server_port}", centre.issue_code(), "CT 2"
                )
        finally:
            plain.shutdown()
            thread.join(30)


def test_what_is_not_enrolled_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotEnrolled, match="leadglass-agent enrol"):
        load_identity(AgentFolder(tmp_path))


@pytest.mark.parametrize(
    "name, content, error",
    [
        ("host.json", b"{}", Malformed),
        ("evidence.key", b"nonsense", IdentityUnreadable),
        ("tls.pem", b"nonsense", IdentityUnreadable),
        ("tls.pem", of_version_41(TRUST).encode(), IdentityUnreadable),
        ("ca.pem", of_version_41(TRUST).encode(), IdentityUnreadable),
    ],
)
def test_a_damaged_identity_stops_the_start_and_names_the_file(
    enrolled: AgentFolder, name: str, content: bytes, error: type[Exception]
) -> None:
    (enrolled.identity / name).write_bytes(content)

    with pytest.raises(error, match=name):
        load_identity(enrolled)


@pytest.mark.parametrize("plant", [os.mkfifo, lambda file: file.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_root_waits_for_nothing_that_the_agent_s_account_put_there(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    folder = AgentFolder(tmp_path)
    folder.identity.mkdir()
    plant(folder.config)

    with pytest.raises(IdentityUnreadable, match="not a file"):
        load_config(folder)


def test_a_tls_key_that_is_not_the_certificate_s_stops_the_start(enrolled: AgentFolder) -> None:
    certificate = enrolled.tls.read_bytes().partition(b"-----BEGIN PRIVATE KEY-----")[0]
    enrolled.tls.write_bytes(certificate + (enrolled.identity / "evidence.key").read_bytes())

    with pytest.raises(CertificateUnusable):
        verified_context(enrolled.ca, enrolled.tls)


def test_host_json_prints_back_unchanged(enrolled: AgentFolder) -> None:
    data = (enrolled.identity / "host.json").read_bytes()

    assert HostConfig.parse(data).encode() == data
    without_broker = HostConfig.parse(data)
    assert without_broker.doors.mqtt_port is None
    in_tpm = HostConfig(**{**without_broker.__dict__, "keys": KeyProtection.TPM})
    assert HostConfig.parse(in_tpm.encode()) == in_tpm
    assert b"keys" not in data
    with_broker = HostConfig(**{**without_broker.__dict__, "doors": Doors("centre.example", 443, 8883)})
    assert HostConfig.parse(with_broker.encode()) == with_broker


def test_certificates_are_for_the_host_that_the_answer_names(enrolled: AgentFolder) -> None:
    names = {
        x509.load_pem_x509_certificate((enrolled.identity / file).read_bytes()).subject.rfc4514_string()
        for file in ("tls.pem", "evidence.crt")
    }

    host = str(load_identity(enrolled).config.host_id)
    assert names == {f"CN={host},OU={unit},O=test centre" for unit in ("host", "evidence")}


def test_a_host_keeps_every_layer_that_its_answer_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = ("organisation", "modality-ct", "site-north")
    monkeypatch.setattr(Answering, "change", lambda self, answer: changed(answer, layers=layers))
    (tmp_path / "centre").mkdir()
    centre = Answering(tmp_path / "centre")
    centre.start()
    try:
        enrol(AgentFolder(tmp_path / "agent"), centre.enrol_url, centre.issue_code(), "CT 2")
    finally:
        centre.stop()

    config = load_identity(AgentFolder(tmp_path / "agent")).config
    assert (config.layer, config.parts, config.layers) == ("organisation", layers[1:], layers)
