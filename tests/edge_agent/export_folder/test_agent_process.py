"""The agent as a real process that watches a folder: from the modality's file to the vault, over a kill."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.config import AgentFolder
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.policy.document import AfterReceipt, Modality
from tests.edge_agent.capture.images import NAMES, load
from tests.fakes.centre import Centre

ROOT = Path(__file__).parents[3]
IMAGES = [load(name) for name in NAMES]


@contextlib.contextmanager
def running(folder: AgentFolder, export: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "edge_agent", "run", "--data", str(folder.path), "--dicom-port", "0"]
    with (folder.path / "stderr.log").open("ab") as log:
        process = subprocess.Popen([*command, "--export-folder", f"CT1={export}"], cwd=ROOT, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def publish(centre: Centre, after: AfterReceipt) -> None:
    policy = replace(centre.policy(1), modalities=(Modality("CT1", "a modality", export_folder=after),))
    head, layer = centre.signers.publish(policy.encode(), 1)
    centre.head, centre.layer = head.encode(), layer.encode()


def delivered(centre: Centre) -> set[bytes]:
    return {centre.open(object_id)[0] for object_id in list(centre.objects)}


def released(centre: Centre) -> int:
    return sum(AuditRecord.parse(record.public).event is Event.FILE_RELEASED for record in centre.audit)


def test_from_the_folder_to_the_vault_over_a_kill_and_then_deleted(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(centre, AfterReceipt.DELETE)
    export = tmp_path / "export"
    export.mkdir()
    for image in IMAGES[:5]:
        shutil.copyfile(image.path, export / image.name)
    with running(enrolled, export) as agent:
        centre.wait_for(lambda: len(centre.objects) >= 1, 30)
        agent.kill()
        agent.wait()
    study = export / "study"
    study.mkdir()
    for image in IMAGES[5:]:
        shutil.copyfile(image.path, study / image.name)
    (export / "DOE^JANE.txt").write_text("Dear")

    with running(enrolled, export) as agent:
        centre.wait_for(lambda: delivered(centre) == {image.dataset for image in IMAGES}, 60)
        centre.wait_for(lambda: released(centre) == len(IMAGES), 60)
        centre.wait_for(lambda: any(state.capture.folders for state in centre.states), 30)
        os.kill(agent.pid, signal.SIGTERM)
        assert agent.wait(60) == 0

    assert [path.name for path in export.rglob("*") if path.is_file()] == ["DOE^JANE.txt"]
    main(["status", "--data", str(enrolled.path), "--json"])
    (folder,) = json.loads(capsys.readouterr().out)["export_folders"]
    main(["status", "--data", str(enrolled.path)])
    assert folder["reading"] == "read; files are deleted after the receipt"
    assert "export folder CT1    on " in capsys.readouterr().out
    assert b"DOE" not in (enrolled.path / "stderr.log").read_bytes()


def test_a_folder_that_is_named_wrongly_stops_the_start(enrolled: AgentFolder) -> None:
    assert main(["run", "--data", str(enrolled.path), "--export-folder", "CT1"]) == 2
    assert main(["run", "--data", str(enrolled.path), "--export-folder", f"CT1={enrolled.path}"]) == 2
