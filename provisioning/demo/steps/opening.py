"""A named person opens every image, and finds images by patient number."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from io import BytesIO

import pydicom

from provisioning.demo.expectations import Expectation
from provisioning.demo.images import Image
from provisioning.demo.processes import run
from provisioning.demo.stage import Centre, Stage

_OK = 200
_REASON = "demonstration"

EXPECTED = (
    Expectation("every-image-opens-unchanged", "every image opens, and its dataset is byte for byte what was sent"),
    Expectation("every-check-passed", "each was released only after every check of it had passed"),
    Expectation("conflict-is-told", "of two images under one SOP Instance UID both are kept, and each names the other"),
    Expectation("part10-opens", "an image released as a Part 10 file is one that other software reads"),
    Expectation("found-by-patient-number", "a look-up by patient number finds that patient's images and no others"),
    Expectation("unknown-number-finds-nothing", "a look-up by a number that nobody has finds nothing"),
    Expectation("openings-are-recorded", "every opening stands in the audit log with the person's name"),
    Expectation("who-touched-is-told", "one question tells what became of that patient's images, and who opened them"),
    Expectation("archive-proved", "the openings go into one file, which leadglass-verify proves without anything else"),
)


def open_all(stage: Stage, centre: Centre, images: Sequence[Image]) -> Mapping[str, Image]:
    """Return which object holds which image."""
    listed = [found["object"] for found in centre.people.post("/api/v1/objects/find", {})["objects"]]
    sent = {image.dataset_sha256: image for image in images}
    held: dict[str, Image] = {}
    states: Counter[str] = Counter()
    names: list[str] = []
    conflicts: dict[str, str] = {}  # what was said of one, empty where nothing was
    with stage.display.doing("opening every image") as doing:
        for number, object_id in enumerate(listed, start=1):
            answer = centre.people.open_object(object_id, _REASON)
            image = sent.get(sha256(answer.body).hexdigest())
            if answer.status == _OK and image is not None and len(answer.body) == image.dataset_bytes:
                held[object_id] = image
            checks = json.loads(answer.headers.get("leadglass-checks", "[]"))
            states.update(check["state"] for check in checks)
            conflicts[object_id] = "".join(check["detail"] for check in checks if check["state"] == "conflict")
            names = [check["check"] for check in checks] or names
            doing.at(f"{number} of {len(listed)}, {len(held)} unchanged")
    whole = len(listed) == len(images) and {image.dataset_sha256 for image in held.values()} == set(sent)
    stage.judge(
        "every-image-opens-unchanged",
        whole,
        f"{len(held)} of {len(images)}, by SHA-256 and size, {len({i.transfer_syntax for i in images})} "
        "transfer syntaxes",
    )
    # A conflict is no failed check: the image is what was captured, and so is the other one.
    passed = set(states) <= {"passed", "conflict"} and states.total() == len(images) * len(names)
    stage.judge("every-check-passed", passed, f"{states.total()} checks {dict(states)}: {', '.join(names)}")
    flagged = sum(bool(said) for said in conflicts.values())
    stage.judge("conflict-is-told", _are_told(held, conflicts), f"{flagged} of {len(held)} images are in one")
    _open_part10(stage, centre, held)
    _look_up(stage, centre, images, held)
    _show_records(stage, centre, len(listed) + 1)
    _ask_the_log(stage, centre, images, held)
    return held


def _are_told(held: Mapping[str, Image], conflicts: Mapping[str, str]) -> bool:
    """Whether just those objects are in conflict that share an instance with others, and each names all of these."""
    shared = 0
    for one, image in held.items():
        others = [other for other, theirs in held.items() if other != one and theirs.instance == image.instance]
        if bool(others) != bool(conflicts[one]) or not all(other in conflicts[one] for other in others):
            return False
        shared += bool(others)
    return shared > 0


def _open_part10(stage: Stage, centre: Centre, held: Mapping[str, Image]) -> None:
    object_id, image = max(held.items(), key=lambda item: item[1].dataset_bytes)
    answer = centre.people.ask("POST", f"/api/v1/objects/{object_id}/open", {"reason": _REASON, "as": "part10"})
    read = pydicom.dcmread(BytesIO(answer.body)) if answer.status == _OK else pydicom.Dataset()
    same = answer.body.endswith(image.dataset())
    syntax = str(read.file_meta.TransferSyntaxUID) if answer.status == _OK else ""
    stage.judge(
        "part10-opens",
        same and syntax == image.transfer_syntax_uid,
        f"{image.name}: {len(answer.body)} bytes, {read.get('Rows')} x {read.get('Columns')} pixels",
    )


def _ask_the_log(stage: Stage, centre: Centre, images: Sequence[Image], held: Mapping[str, Image]) -> None:
    number, count = _patient(images)
    touched = centre.people.post("/api/v1/audit/who-touched", {"patient": number})["records"]
    told = Counter(record["event"] for record in touched)
    opened = {record["what"][0]["name"] for record in touched if record["event"] == "vault.object-opened"}
    theirs = {object_id for object_id, image in held.items() if image.patient_id == number}
    both = told["capture.image-captured"] >= count <= told["vault.object-stored"]
    stage.judge(
        "who-touched-is-told", opened == theirs and both, ", ".join(f"{n} {e}" for e, n in sorted(told.items()))
    )
    file = stage.folders.data / "openings.zip"
    run(
        "leadglass-server", "audit", "archive", "--event", "vault.object-opened", "--out", str(file),
        "--as", str(stage.folders.credential), "--url", centre.people.url,
    ).succeeded()  # fmt: skip
    judged = run("leadglass-verify", "archive", str(file), "--ca", str(stage.folders.agent / "identity" / "ca.pem"))
    last = [line for line in judged.out.splitlines() if line.strip()][-1:]
    stage.judge("archive-proved", judged.exit_code == 0, last[0] if last else judged.message)


def _patient(images: Sequence[Image]) -> tuple[str, int]:
    """Return the patient of whom there are the most images, and how many."""
    return Counter(image.patient_id for image in images if image.patient_id).most_common(1)[0]


def _look_up(stage: Stage, centre: Centre, images: Sequence[Image], held: Mapping[str, Image]) -> None:
    number, count = _patient(images)
    found = {one["object"] for one in centre.people.post("/api/v1/objects/find", {"patient_id": number})["objects"]}
    expected = {object_id for object_id, image in held.items() if image.patient_id == number}
    stage.judge(
        "found-by-patient-number",
        found == expected and len(found) == count,
        f"{len(found)} of {len(images)} images are that patient's",
    )
    nobody = centre.people.post("/api/v1/objects/find", {"patient_id": "no such patient"})["objects"]
    stage.judge("unknown-number-finds-nothing", not nobody, f"{len(nobody)} found")


def _show_records(stage: Stage, centre: Centre, openings: int) -> None:
    held = centre.people.get("/api/v1/audit/records", source="control-plane", after=0, limit=1000)["records"]
    named = [
        record
        for record in held
        if record["event"] == "vault.object-opened" and record["who"][0]["name"] == centre.people.person
    ]
    stage.judge(
        "openings-are-recorded",
        len(named) == openings,
        f"{len(named)} openings by {centre.people.person}, reasons in the sealed part",
    )
