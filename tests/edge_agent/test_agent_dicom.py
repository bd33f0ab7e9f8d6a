"""The whole agent's DICOM side: TLS beside plain, commitment after the centre's receipt, strangers in the report."""

import json
import sqlite3
import ssl
import subprocess
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.ae import ApplicationEntity

from edge_agent.__main__ import main
from edge_agent.agent import Agent, Settings
from edge_agent.capture.listener import Address
from edge_agent.config import AgentFolder
from provisioning.demo import modality
from shared.audit.events import Event, EventName
from shared.audit.record import AuditRecord
from shared.clock import SystemClock
from shared.dicom.dimse import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, Status
from shared.policy.document import Modality, PolicyDocument
from tests.edge_agent.capture.images import load
from tests.fakes.centre import Centre
from tests.fakes.dicom_pki import Party, party
from tests.fakes.log import MemoryLog
from tests.fakes.told import Told
from tests.threads import in_thread

IMAGE = load("CT_small.dcm")


def running(folder: AgentFolder) -> AbstractContextManager[Agent]:
    return in_thread(Agent(Settings(folder, Address("127.0.0.1", 0, "LEADGLASS", 0)), SystemClock(), MemoryLog()))


def publish(centre: Centre, *modalities: Modality, trust: str) -> None:
    policy: PolicyDocument = replace(centre.policy(1), modalities=modalities, dicom_trust=trust)
    head, layer = centre.signers.publish(policy.encode(), 1)
    centre.head, centre.layer = head.encode(), layer.encode()


def certificate(folder: AgentFolder, capsys: pytest.CaptureFixture[str]) -> str:
    """Return our certificate as the command prints it for a modality's trust store."""
    assert main(["dicom-certificate", "--data", str(folder.path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("SHA-256 ")
    return out[out.index("-----BEGIN") :]


def tls(ct: Party, trust: str) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(ct.chain)
    context.load_verify_locations(cadata=trust)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context, "127.0.0.1"


def test_an_image_over_tls_is_committed_once_the_centre_has_it(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct = party(tmp_path / "pki", "ct")
    publish(centre, Modality("CT1", "bound", certificates=(ct.sha256,)), trust=ct.pem)
    trust = certificate(enrolled, capsys)
    told = Told()
    with running(enrolled) as agent:
        centre.wait_for(lambda: agent.listener.tls_port is not None)
        assert agent.listener.tls_port is not None
        entity = ApplicationEntity("CT1")
        entity.add_requested_context(STORAGE_COMMITMENT)
        entity.add_requested_context(IMAGE.sop_class, IMAGE.transfer_syntax)
        association = entity.associate(
            "127.0.0.1", agent.listener.tls_port, tls_args=tls(ct, trust), evt_handlers=told.handlers()
        )
        assert association.send_c_store(IMAGE.path).Status == Status.SUCCESS
        request, item = Dataset(), Dataset()
        request.TransactionUID = "1.2.9"
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = IMAGE.sop_class, IMAGE.sop_instance
        request.ReferencedSOPSequence = [item]
        answer, _ = association.send_n_action(request, 1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE)
        centre.wait_for(lambda: len(centre.objects) == 1)
        told.wait()
        told.release(association)
        centre.wait_for(lambda: Event.COMMITMENT_REPORTED in agent_records(enrolled))

    assert answer.Status == Status.SUCCESS
    assert [event_type for event_type, _ in told.reports] == [1]


def test_a_stranger_is_refused_counted_and_shown(
    centre: Centre, enrolled: AgentFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(centre, Modality("CT1", "the only one"), trust="")
    with running(enrolled) as agent:
        centre.wait_for(lambda: agent.listener.port is not None)
        assert agent.listener.port is not None
        for _ in range(3):
            entity = ApplicationEntity("STRANGER")
            entity.add_requested_context("1.2.840.10008.1.1")
            _, rejection = modality.associate(entity, "127.0.0.1", agent.listener.port, "LEADGLASS")
            assert rejection is not None
        agent._bells.report.ring()
        centre.wait_for(lambda: any(state.capture.senders_refused == 3 for state in centre.states))
    assert main(["status", "--data", str(enrolled.path), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)

    assert status["senders_refused"] == 3
    kept = agent_records(enrolled)
    assert kept.count(Event.ASSOCIATION_REFUSED) == 1
    assert kept.count(Event.INTERCEPTION_ATTEMPTED) == 1


def agent_records(folder: AgentFolder) -> list[EventName]:
    with closing(sqlite3.connect(folder.database)) as connection:
        rows = connection.execute("SELECT public FROM record ORDER BY seq").fetchall()
    return [AuditRecord.parse(public).event for (public,) in rows]


def test_openssl_reads_what_the_command_prints(
    enrolled: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "printed.pem"
    file.write_text(certificate(enrolled, capsys))
    done = subprocess.run(
        ["openssl", "x509", "-in", str(file), "-noout", "-text"], check=True, capture_output=True, text=True
    )

    assert "IP Address:127.0.0.1" in done.stdout
    assert "PRIVATE" not in file.read_text()
