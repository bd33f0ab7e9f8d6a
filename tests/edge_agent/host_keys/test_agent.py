"""An agent whose keys are in a TPM does what any agent does: enrols, connects, reports, renews, and starts again."""

from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.agent import Agent, Settings
from edge_agent.capture.listener import Address
from edge_agent.config import EVIDENCE_CERTIFICATE, AgentFolder, evidence_key, load_enrolment, load_identity
from edge_agent.enrol.enroller import enrol
from edge_agent.enrol.evidence import EvidenceRenewal
from edge_agent.enrol.lapsed import Asking
from edge_agent.enrol.pinned import PinnedRoot
from edge_agent.enrol.renewal import CertificateRenewal
from edge_agent.enrol.store import IdentityUnreadable
from edge_agent.health.local import read_status
from edge_agent.host_keys.commands import Vaults, choose_protection, move_keys
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.tpm import TpmVault
from edge_agent.host_keys.vault import KeyMisplaced, KeyName, KeyVaultUnavailable
from edge_agent.https import HttpsDoor, verified_context
from edge_agent.memory_file import in_memory
from shared.clock import SystemClock
from shared.enrolment.chain import parse_chain
from shared.fleet.keys import KeyProtection
from tests.edge_agent.host_keys.needles import found_in, needles_of
from tests.edge_agent.host_keys.test_move import vaults_of
from tests.fakes.centre import Centre
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog
from tests.fakes.mosquitto import broker
from tests.fakes.ports import free_port
from tests.fakes.software_tpm import SoftwareTpm
from tests.threads import in_thread

FILE, TPM = KeyProtection


@pytest.fixture
def vault(tpm: SoftwareTpm) -> Vaults:
    return vaults_of(tpm)


@pytest.fixture
def in_tpm(centre: Centre, tpm: SoftwareTpm, tmp_path: Path) -> AgentFolder:
    folder = AgentFolder(tmp_path / "in-tpm")
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2", vault=tpm.vault)
    return folder


def running(folder: AgentFolder, vault: Vaults, log: MemoryLog) -> AbstractContextManager[Agent]:
    return in_thread(Agent(Settings(folder, Address("127.0.0.1", 0, "LEADGLASS")), SystemClock(), log, vault=vault))


def test_enrolment_leaves_no_key_in_clear_anywhere(
    centre: Centre, in_tpm: AgentFolder, enrolled: AgentFolder, vault: Vaults
) -> None:
    secret = load_identity(in_tpm, vault)
    control = load_identity(enrolled)

    for name in (KeyName.TLS, KeyName.EVIDENCE):
        assert not found_in(in_tpm.path, needles_of(secret.keys.load(name)))
        assert found_in(enrolled.path, needles_of(control.keys.load(name)))
    assert secret.signer.public == centre.evidence[str(secret.config.host_id)]


def test_it_reports_over_https_where_its_keys_are(
    centre: Centre, in_tpm: AgentFolder, enrolled: AgentFolder, vault: Vaults
) -> None:
    for folder in (in_tpm, enrolled):
        said = len(centre.states)
        with running(folder, vault, MemoryLog()):
            centre.wait_for(lambda said=said: len(centre.states) > said)

    kinds = {str(state.host_id): state.keys for state in centre.states}
    assert kinds[str(load_enrolment(in_tpm).config.host_id)] is TPM
    assert kinds[str(load_enrolment(enrolled).config.host_id)] is FILE


def test_it_connects_to_the_broker(tpm: SoftwareTpm, vault: Vaults, tmp_path: Path) -> None:
    (tmp_path / "mqtt-centre").mkdir()
    centre = Centre(tmp_path / "mqtt-centre")
    centre.mqtt_port = free_port()
    centre.start()
    with broker(tmp_path / "broker", centre.authority, centre.folder / "server.pem", centre.mqtt_port):
        folder, log = AgentFolder(tmp_path / "agent"), MemoryLog()
        enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2", vault=tpm.vault)
        with running(folder, vault, log):
            centre.wait_for(lambda: "mqtt.connected" in log.names())
    centre.stop()


def test_a_renewed_key_is_in_the_tpm_too_and_serves_at_once_and_after_a_restart(
    centre: Centre, in_tpm: AgentFolder, vault: Vaults
) -> None:
    with running(in_tpm, vault, MemoryLog()) as agent:
        renewal = next(part for part in agent._parts if isinstance(part, CertificateRenewal))
        certificate = renewal.renew()
    identity = load_identity(in_tpm, vault)

    assert identity.tls_certificate == certificate
    assert identity.tls.startswith(certificate.public_bytes(Encoding.PEM))
    assert not found_in(in_tpm.path, needles_of(identity.tls))
    said = len(centre.states)
    with running(in_tpm, vault, MemoryLog()):
        centre.wait_for(lambda: len(centre.states) > said)


def test_the_evidence_key_is_certified_anew_and_stays_where_it_is(
    centre: Centre, in_tpm: AgentFolder, vault: Vaults
) -> None:
    identity, file = load_identity(in_tpm, vault), in_tpm.identity / EVIDENCE_CERTIFICATE
    before, key = file.read_bytes(), identity.keys.file(KeyName.EVIDENCE).read_bytes()
    clock = FakeClock(identity.tls_certificate.not_valid_before_utc + timedelta(days=5))
    with in_memory(identity.tls) as tls:
        door = HttpsDoor("127.0.0.1", identity.config.doors.https_port, verified_context(in_tpm.ca, tls), timeout_s=30)
    renewal = EvidenceRenewal(
        door, in_tpm, identity.config.host_id, key=lambda: evidence_key(identity.keys), trust=lambda: identity.trust,
        clock=clock, log=MemoryLog(),
    )  # fmt: skip

    assert renewal.renew_if_due()
    assert file.read_bytes() != before
    assert identity.keys.file(KeyName.EVIDENCE).read_bytes() == key
    assert parse_chain(file.read_bytes(), "")[0].public_key() == evidence_key(identity.keys).public_key()
    assert not renewal.renew_if_due()
    door.close()


def test_a_tpm_that_does_not_answer_keeps_the_old_certificate_and_asks_the_centre_for_nothing(
    centre: Centre, in_tpm: AgentFolder, vault: Vaults
) -> None:
    identity = load_identity(in_tpm, vault)
    before = identity.keys.file(KeyName.TLS).read_bytes()
    gone = type(identity.keys)(in_tpm.identity, TpmVault("device:/dev/no-such-tpm"))
    doors = identity.config.doors
    with in_memory(identity.tls) as file:
        door = HttpsDoor(doors.host, doors.https_port, verified_context(in_tpm.ca, file), timeout_s=30)
    renewal = CertificateRenewal(
        door,
        in_tpm,
        gone,
        host_id=identity.config.host_id,
        asking=Asking(in_tpm, identity, FakeClock(), MemoryLog()),
        present=identity.tls_certificate,
        root=PinnedRoot(
            in_tpm.ca, identity.trust, fetch=lambda: b"", contexts=[], log=MemoryLog(), note=lambda _: None
        ),
        contexts=[],
        clock=FakeClock(),
        log=MemoryLog(),
    )
    with pytest.raises(KeyVaultUnavailable, match="switch it on"):
        renewal.renew()

    assert identity.keys.file(KeyName.TLS).read_bytes() == before
    assert "POST /api/v1/renewal" not in centre.requests


def test_a_code_is_not_spent_where_the_keys_could_not_be_kept(centre: Centre, tmp_path: Path) -> None:
    code = centre.issue_code()
    with pytest.raises(KeyVaultUnavailable):
        enrol(
            AgentFolder(tmp_path / "agent"), centre.enrol_url, code, "CT 2", vault=TpmVault("device:/dev/no-such-tpm")
        )

    assert code.secret in centre.codes
    assert not (tmp_path / "agent").exists()


def test_status_asks_no_tpm_and_says_where_the_keys_are(in_tpm: AgentFolder, enrolled: AgentFolder) -> None:
    assert read_status(in_tpm).keys is TPM
    assert read_status(enrolled).keys.in_words == "file (readable by root and by whoever takes the disk)"


def test_a_start_erases_what_a_move_left_that_was_cut_off(centre: Centre, enrolled: AgentFolder, vault: Vaults) -> None:
    plain = {file: file.read_bytes() for file in enrolled.identity.glob("*.key")}
    list(move_keys(enrolled, TPM, SystemClock(), vault))
    for file, content in plain.items():
        file.write_bytes(content)
    log = MemoryLog()
    with running(enrolled, vault, log):
        centre.wait_for(lambda: len(centre.states) > 0)

    assert not [file for file in plain if file.exists()]
    assert "keys.left-over-erased" in log.names()


def test_an_identity_that_says_tpm_takes_no_plain_key(
    in_tpm: AgentFolder, enrolled: AgentFolder, vault: Vaults
) -> None:
    wrapped = in_tpm.identity / "evidence.tpm.key"
    wrapped.write_bytes((enrolled.identity / "evidence.key").read_bytes())

    with pytest.raises(KeyMisplaced):
        load_identity(in_tpm, vault)
    wrapped.unlink()
    with pytest.raises(IdentityUnreadable):
        load_identity(in_tpm, vault)


def test_auto_takes_the_tpm_that_answers_and_else_says_why_not(vault: Vaults) -> None:
    def without(protection: KeyProtection) -> TpmVault:
        assert protection is TPM
        return TpmVault("device:/dev/no-such-tpm")

    assert choose_protection("auto", vault).protection is TPM
    assert "no TPM 2.0 at /dev/tpmrm0" in choose_protection("auto", without).why
    with pytest.raises(KeyVaultUnavailable):
        choose_protection("tpm", without)
    assert choose_protection("file", lambda _: FILES).protection is FILE
