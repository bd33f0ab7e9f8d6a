"""The agent as a real process: started, sent to, killed, started again."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom.ae import ApplicationEntity
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from edge_agent.config import AgentFolder
from edge_agent.health.local import read_status
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from tests.fakes.centre import Centre

ROOT = Path(__file__).parents[2]


@contextmanager
def running_agent(folder: AgentFolder, ready: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "edge_agent", "run", "--data", str(folder.path), "--dicom-port", "0"]
    log = folder.path / "stderr.log"
    with log.open("ab") as stderr:
        process = subprocess.Popen([*command, "--ready-file", str(ready)], cwd=ROOT, stderr=stderr)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def listening_port(ready: Path, pid: int) -> int:
    for _ in range(1200):
        if ready.exists():
            said = json.loads(ready.read_bytes())
            if said["pid"] == pid and said["dicom_port"]:
                return int(said["dicom_port"])
        time.sleep(0.05)
    raise AssertionError("the agent did not begin to listen")


def send_ct(port: int, calling: str = "CT1") -> int:
    entity = ApplicationEntity(calling)
    entity.add_requested_context(CTImageStorage)
    association = entity.associate("127.0.0.1", port)
    assert association.is_established
    status = association.send_c_store(str(get_testdata_file("CT_small.dcm", download=False)))
    association.release()
    return int(status.Status)


def send_until_cut_off(port: int, on_first_answer: Callable[[], None]) -> int:
    """Return how many images were acknowledged before the agent went away."""
    entity = ApplicationEntity("CT1")
    entity.add_requested_context(CTImageStorage)
    association = entity.associate("127.0.0.1", port)
    file = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    answers = acknowledged = 0
    while association.is_established:
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        try:
            status = association.send_c_store(file)
        except RuntimeError:  # how pynetdicom says that it has just ended
            break
        if "Status" not in status:
            break
        answers, acknowledged = answers + 1, acknowledged + (int(status.Status) == 0)
        if answers == 1:
            on_first_answer()
    return acknowledged


def captured(centre: Centre) -> set[str]:
    records = [AuditRecord.parse(record.public) for record in centre.audit]
    return {record.what[0].name for record in records if record.event is Event.IMAGE_CAPTURED}


def test_an_acknowledged_image_survives_kill_9_and_is_delivered_after_restart(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    centre.publish(1)
    centre.vault_status = 503
    ready = tmp_path / "ready.json"
    with running_agent(enrolled, ready) as agent:
        assert send_ct(listening_port(ready, agent.pid)) == 0
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait()

    centre.vault_status = 0
    with running_agent(enrolled, ready) as agent:
        centre.wait_for(lambda: len(centre.objects) == 1)
        centre.wait_for(lambda: any(b"image-delivered" in record.public for record in centre.audit))
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(60) == 0
    assert read_status(enrolled).waiting == 0


def test_nothing_acknowledged_is_lost_however_often_it_is_killed(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    centre.publish(1)
    ready = tmp_path / "ready.json"
    rng = random.Random(20)
    acknowledged = 0
    for _ in range(4):
        with running_agent(enrolled, ready) as agent:
            port = listening_port(ready, agent.pid)
            killer = threading.Timer(rng.uniform(0.05, 0.4), agent.kill)
            acknowledged += send_until_cut_off(port, killer.start)
            killer.join()

    with running_agent(enrolled, ready) as agent:
        listening_port(ready, agent.pid)  # by then it has found what the killed one had not registered
        centre.wait_for(lambda: read_status(enrolled).waiting == 0)
        centre.wait_for(lambda: len(captured(centre)) == len(centre.objects))
    assert acknowledged > 0
    # One image of each round may have been made durable without its answer getting out.
    assert acknowledged <= len(centre.objects) <= acknowledged + 4
    assert captured(centre) == set(centre.objects)
    assert not list((enrolled.spool / "incoming").iterdir())


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_ends_cleanly_when_told_to(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path, signal_number: signal.Signals
) -> None:
    centre.publish(1)
    ready = tmp_path / "ready.json"
    with running_agent(enrolled, ready) as agent:
        listening_port(ready, agent.pid)
        agent.send_signal(signal_number)

        assert agent.wait(60) == 0
