"""Reports of wipes that went well, one of each kind, to spoil in tests."""

import dataclasses
from datetime import timedelta
from hashlib import sha256
from typing import Any

from shared.identity import CONTROL_PLANE
from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization import sampling
from shared.sanitization.certificate import (
    Approval,
    Body,
    Chain,
    Facts,
    Reported,
    Statement,
    WipeCertificate,
    sign,
)
from shared.sanitization.destruction import Destruction
from shared.sanitization.judge import DESTROYED, RULES, judge
from shared.sanitization.medium import Medium, MediumKind, PartitionCount, SerialSource
from shared.sanitization.method import Method
from shared.sanitization.report import (
    NOWHERE,
    Checked,
    Considered,
    Ending,
    Expected,
    HiddenArea,
    HiddenKind,
    HiddenState,
    Step,
    StepOutcome,
    WipeReport,
)
from shared.sanitization.technique import Available, Sequence, Technique
from shared.sanitization.ticket import TargetDrive, Ticket
from shared.signing import Label, detached, sign_statement
from tests.shared import made
from tests.shared.sanitization.tickets import BEA, ticket

SIZE = 64 << 20
SECTOR = 512
SEED, SAMPLE_SEED = bytes(range(32)), bytes(range(32, 64))
STARTED = made.NOW + timedelta(hours=1)

DISK = Medium(
    MediumKind.ATA_DISK, "SEAGATE", "ST4000NM0035", "TN04", "S3R1AL4711", SerialSource.ATA_IDENTIFY,
    "naa.5000c500a1b2c3d4", SIZE, SECTOR, 4096, True, (PartitionCount("ext4", 2), PartitionCount("luks", 1)),
)  # fmt: skip
NVME = dataclasses.replace(
    DISK, kind=MediumKind.NVME, model="PM9A3", serial_source=SerialSource.NVME_IDENTIFY, rotational=False
)
NO_HIDDEN = (
    HiddenArea(HiddenKind.HPA, HiddenState.NONE, 0, ""),
    HiddenArea(HiddenKind.DCO, HiddenState.NONE, 0, ""),
)
ONE_NAMESPACE = (HiddenArea(HiddenKind.NAMESPACES, HiddenState.NONE, 0, ""),)


def at(minutes: float) -> Any:
    return STARTED + timedelta(minutes=minutes)


def drive_of(medium: Medium) -> TargetDrive:
    return TargetDrive(medium.serial, medium.wwn, medium.model, medium.size_bytes)


def random_pass(**changes: Any) -> Step:
    step = Step(
        technique=Technique.OVERWRITE,
        part="",
        tool="leadglass-wipe 0.1.0",
        outcome=StepOutcome.DONE,
        accepted=True,
        progress_seen=True,
        completed=True,
        pattern="random",
        commitment=sha256(SEED).digest(),
        seed=SEED,
        bytes_total=SIZE,
        bytes_written=SIZE,
        retries=0,
        unwritable=NOWHERE,
        resumed=0,
        started=at(1),
        ended=at(10),
        detail="",
        facts={},
    )
    return dataclasses.replace(step, **changes)


def byte_pass(byte: str, **changes: Any) -> Step:
    return random_pass(pattern=byte, commitment=None, seed=None, **changes)


def command(technique: Technique, **changes: Any) -> Step:
    sent: dict[str, Any] = {
        "tool": "nvme-cli 2.4", "pattern": "", "commitment": None, "seed": None, "bytes_total": 0, "bytes_written": 0,
    }  # fmt: skip
    return random_pass(technique=technique, **{**sent, **changes})


def read_back(**changes: Any) -> Checked:
    checked = Checked(
        amount=ReadBack.WHOLE,
        expected=Expected.STREAM,
        pattern="",
        stream_seed=SEED,
        sample_seed=None,
        bytes_to_read=SIZE,
        bytes_read=SIZE,
        bytes_equal=SIZE,
        different=NOWHERE,
        unreadable=NOWHERE,
        tool="leadglass-wipe 0.1.0",
        started=at(11),
        ended=at(20),
    )
    return dataclasses.replace(checked, **changes)


def samples(**changes: Any) -> Checked:
    meant = sampling.sampled_bytes(SIZE, SECTOR)
    amounts = {"bytes_to_read": meant, "bytes_read": meant, "bytes_equal": meant}
    return read_back(**{"amount": ReadBack.SAMPLES, "sample_seed": SAMPLE_SEED, **amounts, **changes})


def changed(**changes: Any) -> Checked:
    held = {"bytes_to_read": 1 << 20, "bytes_read": 1 << 20, "bytes_equal": 1 << 20}
    return samples(**{"expected": Expected.CHANGED, "stream_seed": None, **held, **changes})


def report_of(allowed: Ticket, **changes: Any) -> WipeReport:
    medium = dataclasses.replace(DISK, serial=allowed.drive.serial, wwn=allowed.drive.wwn)
    report = WipeReport(
        ticket_id=allowed.ticket_id,
        ticket_sha256=allowed.digest,
        host_id=allowed.host_id,
        software="leadglass-wipe 0.1.0",
        typed_person=allowed.person,
        clock_sure=True,
        started=STARTED,
        ended=at(21),
        interruptions=0,
        ending=Ending.COMPLETED,
        detail="",
        medium=medium,
        medium_after=dataclasses.replace(medium, partitions=()),
        considered=(Considered(Technique.OVERWRITE, Available.YES, "every drive that can be written has it"),),
        hidden=NO_HIDDEN,
        steps=(random_pass(),),
        checks=(read_back(),),
        health_before={"reallocated_sectors": 0, "temperature_c": 31},
        health_after={"reallocated_sectors": 0, "temperature_c": 44},
        overridden=(),
        undelivered=0,
    )
    return dataclasses.replace(report, **changes)


def overwritten(**changes: Any) -> tuple[Ticket, WipeReport]:
    """A magnetic disk, written once with random data and read back whole."""
    allowed = ticket(drive=drive_of(DISK))
    return allowed, report_of(allowed, **changes)


def certificate(destruction: Destruction | None = None) -> WipeCertificate:
    """A certificate of that, or of a destruction; what lies beside the statement has the form alone."""
    allowed, report = overwritten()
    signed = sign_statement(made.HOST_SIGNER, Label.WIPE_REPORT, report.encode())
    approval = Approval("Bea", BEA.public, detached(sign_statement(BEA, Label.WIPE_TICKET, allowed.encode())))
    reported = None if destruction is not None else Reported(report, detached(signed))
    judged = DESTROYED if destruction is not None else judge(allowed, report)
    statement = Statement(
        allowed, (approval,), reported, destruction, judged, RULES, Facts(location="plant room B, 地下一层"), "Cai",
        at(30), "leadglass-server 0.1.0",
    )  # fmt: skip
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    body = Body(statement, (Chain(CONTROL_PLANE, pem),), b"record", "proof")
    return sign(body, made.VAULT_SIGNER)


def sanitized(**changes: Any) -> tuple[Ticket, WipeReport]:
    """An NVMe drive whose own sanitize ran, and whose samples changed."""
    method = Method(
        LeastClass.PURGE, (Technique.NVME_SANITIZE_BLOCK, Technique.OVERWRITE), Sequence.RANDOM, (), ReadBack.SAMPLES
    )
    allowed = ticket(drive=drive_of(NVME), method=method)
    return allowed, report_of(allowed, **{
        "medium": NVME,
        "medium_after": dataclasses.replace(NVME, partitions=()),
        "hidden": ONE_NAMESPACE,
        "steps": (command(Technique.NVME_SANITIZE_BLOCK),),
        "checks": (changed(),),
        **changes,
    })  # fmt: skip
