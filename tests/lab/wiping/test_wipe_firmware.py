"""What drives do themselves, asked by unmodified tools on a real kernel: some do it, some lie, exit codes tell nothing.

NVMe and SCSI drives of QEMU's, and disks whose firmware is a program in the guest. QEMU's AHCI disk cannot be plugged;
what it answers is in tests/edge_agent/sanitize/firmware/recorded.
"""

import json
from pathlib import Path
from typing import Any

from tests.lab.guard import packed
from tests.lab.lab import Lab

JOBS = Path(__file__).parents[1] / "inside" / "firmware_jobs.py"
SIZE = 1 << 20
KINDS = {"ata": "ata-ssd", "scsi": "scsi-disk", "nvme": "nvme"}

Told = dict[str, Any]


def word_of(told: Told) -> tuple[str, bool, bool, bool]:
    assert "error" not in told, told
    return told["outcome"], told["accepted"], told["progress_seen"], told["completed"]


def job(node: str, kind: str, technique: str, **more: object) -> dict[str, object]:
    return {"node": node, "kind": KINDS[kind], "technique": technique, **more}


def test_what_a_drive_did_is_told_from_what_it_said_and_from_what_tools_end_with(lab: Lab) -> None:
    lab.guest.put("/run/leadglass.tar", packed())
    lab.guest.run("tar --extract --file /run/leadglass.tar --directory /")
    lab.guest.put("/run/firmware_jobs.py", JOBS.read_bytes())
    forgets = lab.drives.nvme("forgets", "nvme0n1", SIZE, "slot0")
    keeps = lab.drives.nvme("keeps", "nvme1n1", SIZE, "slot1", discard="ignore")
    lab.drives.scsi("emulated", "sda", SIZE, "slot2")
    _, node = lab.drives.firmware("A:ata", "S:scsi", "H:ata:256")

    def ata(technique: str, mode: str, **more: object) -> dict[str, object]:
        return job(node["A"], "ata", technique, mode={"/run/A.mode": mode}, **more)

    def scsi(mode: str, **more: object) -> dict[str, object]:
        return job(node["S"], "scsi", "scsi-sanitize-block", mode={"/run/S.mode": mode}, **more)

    early = ["sg_sanitize", "--overwrite", "--zero", "--quick", "--early", "/dev/sda"]
    jobs: dict[str, dict[str, object]] = {
        "nvme format": job("/dev/nvme0n1", "nvme", "nvme-format-user", asks=True),
        "nvme discard, ignored": job("/dev/nvme1n1", "nvme", "discard", exit=["blkdiscard", "/dev/nvme1n1"]),
        "emulated sanitize": job("/dev/sda", "scsi", "scsi-sanitize-overwrite", exit=early, asks=True),
        "erase": ata("ata-secure-erase", "ok"),
        "erase, a lie": ata("ata-secure-erase", "lie"),
        "erase, idle": ata("ata-secure-erase", "idle"),
        "erase, frozen": ata("ata-secure-erase", "frozen", asks=True),
        "erase, failed": ata("ata-secure-erase", "fail"),
        "scramble, idle": ata("ata-sanitize-crypto", "idle"),
        "scramble": ata("ata-sanitize-crypto", "ok", asks=True),
        "scramble, a lie": ata("ata-sanitize-crypto", "lie"),
        "sanitize": scsi("ok", asks=True),
        "sanitize, a lie": scsi("lie"),
        "sanitize, idle": scsi("idle", exit=["sg_sanitize", "--block", "--quick", "--early", node["S"]]),
        "sanitize, failed": scsi("fail"),
        "hidden": {"node": node["H"], "kind": "ata-disk", "opens": True},
    }
    said = lab.guest.run(["python3", "/run/firmware_jobs.py", json.dumps([*jobs.values()])], timeout_s=240).out
    told: dict[str, Told] = dict(zip(jobs, map(json.loads, said.splitlines()), strict=True))

    # Done, by the drive's word, and it is true.
    assert word_of(told["scramble"]) == word_of(told["sanitize"]) == ("done", True, True, True)
    assert word_of(told["erase"]) == word_of(told["nvme format"]) == ("done", True, False, True)
    for name in ("scramble", "sanitize", "erase", "nvme format"):
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

    # An area that the host cannot see is found, opened for good, and counts as opened by the drive's own word.
    assert told["hidden"]["before"] == {"hpa": ["present", 256], "dco": ["none", 0]}
    assert told["hidden"]["after"] == {"hpa": ["removed", 256], "dco": ["none", 0]}
    assert told["hidden"]["sizes"] == [SIZE - 256 * 512, SIZE]

    # What was considered, and what is hidden, by the drives' own answers.
    assert told["scramble"]["considered"]["ata-sanitize-crypto"][0] == "yes"
    assert told["sanitize"]["considered"]["scsi-sanitize-block"][0] == "yes"
    assert told["emulated sanitize"]["considered"]["scsi-sanitize-overwrite"][0] == "unknown"
    assert told["nvme format"]["considered"]["nvme-sanitize-block"][0] == "no"
    assert told["nvme format"]["considered"]["nvme-format-crypto"][0] == "no"
    assert told["nvme format"]["hidden"]["namespaces"][0] == "none"
