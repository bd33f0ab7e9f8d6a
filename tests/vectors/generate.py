"""Makes every vector of ours again: `python -m tests.vectors.generate`.

Running it twice changes nothing. tests/vectors/README.md
"""

import sys

from tests.vectors.generators import (
    audit_record,
    canonical_json,
    command,
    custody,
    custody_image,
    custody_pixels,
    enrolment,
    enrolment_chain,
    hand_over,
    host_state,
    log_checkpoint,
    policy,
    policy_devices,
    policy_options,
    policy_parts,
    sealed_object,
    self_test,
    signed_statement,
    spool_export,
    wipe_certificate,
    wipe_stream,
    wipe_ticket,
)
from tests.vectors.given import BOXES_FILE, FOLDER, Files, KeptBoxes

FORMATS = (
    "sealed-object", "signed-statement", "audit-record", "policy", "enrolment", "host-state", "canonical-json",
    "spool-export", "custody", "command", "self-test", "hand-over", "wipe-stream",
    "wipe",
    "wipe-certificate", "log-checkpoint",
)  # fmt: skip


def make_all() -> Files:
    """Return every generated file, by its path below this folder."""
    boxes = KeptBoxes.load()
    files = sealed_object.scenarios(boxes) | audit_record.scenarios(boxes)
    for made in (
        signed_statement, policy, policy_options, policy_devices, policy_parts, enrolment, enrolment_chain, host_state,
        canonical_json, spool_export, command, custody, custody_image, custody_pixels, self_test, hand_over,
        wipe_certificate, wipe_stream, wipe_ticket, log_checkpoint,
    ):  # fmt: skip
        files |= made.scenarios()
    files[BOXES_FILE.name] = boxes.text()
    return files


def main() -> None:
    files = make_all()
    stale = [path for name in FORMATS for path in (FOLDER / name).glob("*.json")]
    for path in stale:
        if path.relative_to(FOLDER).as_posix() not in files:
            path.unlink()
    changed = 0
    for name, text in files.items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed += 1
    sys.stdout.write(f"{len(files)} files, {changed} changed\n")


if __name__ == "__main__":
    main()
