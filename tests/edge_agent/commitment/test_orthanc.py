"""Storage commitment with an Orthanc that plays the modality: it sends, asks, and is told on a new association."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_agent.commitment.judge import UNKNOWN_AFTER_LAST_CAPTURE
from shared.audit.events import Event
from tests.edge_agent.capture.images import Image, load
from tests.edge_agent.commitment.world import World, modality
from tests.fakes.dicom_pki import party
from tests.fakes.host import Host
from tests.fakes.orthanc import Orthanc, Remote, Tls, orthanc
from tests.fakes.ports import free_port

IMAGES = [load("CT_small.dcm"), load("MR_small.dcm")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Host(tmp_path / "host"))


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def store(modality: Orthanc, images: list[Image]) -> list[str]:
    """Have Orthanc send these, and return its names for them."""
    names = [modality.post("/instances", image.path.read_bytes())["ID"] for image in images]
    modality.post("/modalities/agent/store", {"Resources": names, "Synchronous": True})
    return names


def ask(modality: Orthanc, images: list[Image]) -> str:
    """Have Orthanc ask for commitment, and return the name of its transaction."""
    references = [[image.sop_class, image.sop_instance] for image in images]
    return str(modality.post("/modalities/agent/storage-commitment", {"DicomInstances": references})["ID"])


def outcome(modality: Orthanc, transaction: str) -> Any:
    return modality.get(f"/storage-commitment/{transaction}")


def test_success_is_said_only_after_the_vault_s_receipts(world: World, tmp_path: Path) -> None:
    port, there = free_port(), free_port()
    world.enforce(modality("ORTHANC", there))
    with (
        world.running(port),
        orthanc(tmp_path / "orthanc", dicom_port=there, remotes={"agent": Remote("LEADGLASS", port)}) as sender,
    ):
        store(sender, IMAGES)
        objects = world.captured(*IMAGES)
        transaction = ask(sender, IMAGES)
        world.receipt(objects[0])
        until(lambda: Event.COMMITMENT_REQUESTED in world.host.events())
        before = outcome(sender, transaction)["Status"]
        world.receipt(objects[1])
        until(lambda: outcome(sender, transaction)["Status"] != "Pending")
        after = outcome(sender, transaction)
        until(lambda: Event.COMMITMENT_REPORTED in world.host.events())

    assert before == "Pending"
    assert after["Status"] == "Success"
    assert {one["SOPInstanceUID"] for one in after["Success"]} == {image.sop_instance for image in IMAGES}
    assert world.store.waiting() == 0


def test_what_was_never_captured_is_a_failure_once_nothing_more_is_to_be_expected(world: World, tmp_path: Path) -> None:
    port, there = free_port(), free_port()
    world.enforce(modality("ORTHANC", there))
    with (
        world.running(port),
        orthanc(tmp_path / "orthanc", dicom_port=there, remotes={"agent": Remote("LEADGLASS", port)}) as sender,
    ):
        store(sender, IMAGES[:1])
        world.receipt(*world.captured(IMAGES[0]))
        transaction = ask(sender, IMAGES)
        until(lambda: Event.COMMITMENT_REQUESTED in world.host.events())
        before = outcome(sender, transaction)["Status"]
        world.host.clock.advance(UNKNOWN_AFTER_LAST_CAPTURE + timedelta(seconds=1))
        world.bell.ring()
        until(lambda: outcome(sender, transaction)["Status"] != "Pending")
        after = outcome(sender, transaction)

    assert before == "Pending"
    assert after["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in after["Success"]] == [IMAGES[0].sop_instance]
    ((failed, reason),) = [(one["SOPInstanceUID"], one["FailureReason"]) for one in after["Failures"]]
    assert (failed, reason) == (IMAGES[1].sop_instance, 0x0112)


def test_over_tls_both_ways(world: World, tmp_path: Path) -> None:
    port, tls_port, there = free_port(), free_port(), free_port()
    ours, theirs = party(tmp_path / "pki", "host"), party(tmp_path / "pki", "orthanc")
    world.identity = ours.chain
    world.open()
    world.enforce(modality("ORTHANC", there, theirs.pem), trust=theirs.pem)
    tls = Tls(theirs.certificate, theirs.key, ours.certificate)
    with (
        world.running(port, tls_port),
        orthanc(
            tmp_path / "orthanc", dicom_port=there, tls=tls, remotes={"agent": Remote("LEADGLASS", tls_port)}
        ) as sender,
    ):
        store(sender, IMAGES)
        transaction = ask(sender, IMAGES)
        world.receipt(*world.captured(*IMAGES))
        until(lambda: outcome(sender, transaction)["Status"] == "Success")
        until(lambda: world.store.waiting() == 0)
