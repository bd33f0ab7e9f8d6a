"""What drives do themselves, asked by unmodified tools on a real kernel: some do it, some lie, exit codes tell nothing.

NVMe and SCSI drives of QEMU's, and disks whose firmware is a program in the guest. QEMU's AHCI disk cannot be plugged;
what it answers is in tests/edge_agent/sanitize/firmware/recorded.
"""

import json
from pathlib import Path
from typing import Any

from tests.lab.guard import packed
from tests.lab.lab import Lab

JOBS = Path(__file__).parent / "inside" / "firmware_jobs.py"
SIZE = 1 << 20
KINDS = {"ata": "ata-ssd", "scsi": "scsi-disk", "nvme": "nvme"}
DISKS = ("AOK:ata:ok", "ALIE:ata:lie", "AIDLE:ata:idle", "AICE:ata:frozen", "AFAIL:ata:fail",
         "SOK:scsi:ok", "SLIE:scsi:lie", "SIDLE:scsi:idle", "SFAIL:scsi:fail")  # fmt: skip

Told = dict[str, Any]


def word_of(told: Told) -> tuple[str, bool, bool, bool]:
    assert "error" not in told, told
    return told["outcome"], told["accepted"], told["progress_seen"], told["completed"]


def job(node: str, kind: str, technique: str, *by_exit_code: str) -> dict[str, object]:
    trusting = {"exit": [*by_exit_code, node]} if by_exit_code else {}
    return {"node": node, "kind": KINDS[kind], "technique": technique, **trusting}


def test_what_a_drive_did_is_told_from_what_it_said_and_from_what_tools_end_with(lab: Lab) -> None:
    lab.guest.put("/run/leadglass.tar", packed())
    lab.guest.run("tar --extract --file /run/leadglass.tar --directory /")
    lab.guest.put("/run/firmware_jobs.py", JOBS.read_bytes())
    forgets = lab.drives.nvme("forgets", "nvme0n1", SIZE, "slot0")
    keeps = lab.drives.nvme("keeps", "nvme1n1", SIZE, "slot1", discard="ignore")
    lab.drives.scsi("emulated", "sda", SIZE, "slot2")
    _, node = lab.drives.firmware(*DISKS)
    erase = ("hdparm", "--user-master", "u", "--security-erase", "LEADGLASS")
    sanitize = ("sg_sanitize", "--overwrite", "--zero", "--quick", "--early")
    jobs = {
        "nvme format": job("/dev/nvme0n1", "nvme", "nvme-format-user"),
        "nvme discard": job("/dev/nvme0n1", "nvme", "discard"),
        "nvme discard, ignored": job("/dev/nvme1n1", "nvme", "discard", "blkdiscard"),
        "emulated sanitize": job("/dev/sda", "scsi", "scsi-sanitize-overwrite", *sanitize),
        "erase": job(node["AOK"], "ata", "ata-secure-erase"),
        "erase, a lie": job(node["ALIE"], "ata", "ata-secure-erase"),
        "erase, idle": job(node["AIDLE"], "ata", "ata-secure-erase"),
        "erase, frozen": job(node["AICE"], "ata", "ata-secure-erase", *erase),
        "erase, failed": job(node["AFAIL"], "ata", "ata-secure-erase"),
        "scramble": job(node["AOK"], "ata", "ata-sanitize-crypto"),
        "scramble, a lie": job(node["ALIE"], "ata", "ata-sanitize-crypto"),
        "scramble, idle": job(node["AIDLE"], "ata", "ata-sanitize-crypto"),
        "sanitize": job(node["SOK"], "scsi", "scsi-sanitize-block"),
        "sanitize, a lie": job(node["SLIE"], "scsi", "scsi-sanitize-block"),
        "sanitize, idle": job(node["SIDLE"], "scsi", "scsi-sanitize-block", "sg_sanitize", "--block", "--quick", "-e"),
        "sanitize, failed": job(node["SFAIL"], "scsi", "scsi-sanitize-block"),
    }
    said = lab.guest.run(["python3", "/run/firmware_jobs.py", json.dumps([*jobs.values()])], timeout_s=120).out
    told: dict[str, Told] = dict(zip(jobs, map(json.loads, said.splitlines()), strict=True))

    # Done, by the drive's word, and it is true.
    assert word_of(told["scramble"]) == word_of(told["sanitize"]) == ("done", True, True, True)
    assert word_of(told["erase"]) == word_of(told["nvme format"]) == ("done", True, False, True)
    assert word_of(told["nvme discard"]) == ("done", True, False, True)
    for name in ("scramble", "sanitize", "erase", "nvme format", "nvme discard"):
        assert (told[name]["left"], told[name]["changed"], told[name]["size"]) == (0, True, SIZE), name
    assert not any(forgets.read_bytes())

    # A perfect lie is as done by its word; the read back finds every byte.
    assert word_of(told["scramble, a lie"]) == word_of(told["sanitize, a lie"]) == ("done", True, True, True)
    assert word_of(told["erase, a lie"]) == ("done", True, False, True)
    assert word_of(told["nvme discard, ignored"]) == ("done", True, False, True)
    for name in ("scramble, a lie", "sanitize, a lie", "erase, a lie", "nvme discard, ignored"):
        assert (told[name]["left"], told[name]["changed"]) == (SIZE, False), name
    assert b"PATIENT!" in keeps.read_bytes()

    # Success without work, whatever the exit code.
    assert word_of(told["scramble, idle"]) == word_of(told["sanitize, idle"]) == ("unknown", False, False, False)
    assert word_of(told["emulated sanitize"]) == ("refused", False, False, False)
    assert word_of(told["erase, idle"]) == ("failed", False, False, False)
    # Controls: an adapter that goes by exit codes would call these done.
    for name in ("nvme discard, ignored", "emulated sanitize", "sanitize, idle"):
        assert (told[name]["exit"], told[name]["exit_left"], told[name]["left"]) == (0, SIZE, SIZE), name

    # Refused and failed, and no drive is left under a password.
    assert word_of(told["erase, frozen"]) == ("refused", False, False, False)
    assert told["erase, frozen"]["considered"]["ata-secure-erase"][0] == "no"
    assert word_of(told["erase, failed"]) == ("failed", False, False, False)
    assert told["erase, failed"]["facts"]["password_left"] is False
    assert word_of(told["sanitize, failed"]) == ("failed", True, True, False)

    # What was considered, and what is hidden, by the drives' own answers.
    assert told["scramble"]["considered"]["ata-sanitize-crypto"][0] == "yes"
    assert told["emulated sanitize"]["considered"]["scsi-sanitize-overwrite"][0] == "unknown"
    assert told["nvme format"]["considered"]["nvme-sanitize-block"][0] == "no"
    assert told["nvme format"]["considered"]["nvme-format-crypto"][0] == "no"
    assert told["nvme format"]["hidden"]["namespaces"][0] == "none"
