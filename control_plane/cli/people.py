"""Commands of signed-in people, each one question to the people's door."""

import json
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from control_plane.cli import certified
from control_plane.cli.client import PeopleDoor
from control_plane.policy.authoring import load_credential
from control_plane.vault.siblings import Siblings, lines
from shared.audit.tlog.note import Note
from shared.canonical import Json
from shared.clock import SystemClock
from shared.errors import Malformed
from shared.fleet.keys import KeyProtection
from shared.fleet.state import MISSING
from shared.identity import ObjectId


def door(options: Namespace, *, is_patient: bool = False) -> PeopleDoor:
    credential = load_credential(options.credential)
    signed_by = certified.load(options.signed_by, SystemClock()) if options.signed_by else None
    return PeopleDoor(options.url or credential.url, signed_by or credential.token, is_patient=is_patient)


def status(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/status")
    if options.json:
        return print_json(answer)
    print(f"policy     version {answer['policy']['version']}")
    conflicts = answer["objects"]["conflicts"]
    settled = answer["objects"]["lost_settled"]
    of_them = f", conflicts open: {conflicts}" * bool(conflicts) + f", lost, settled: {settled}" * bool(settled)
    print(f"objects    {answer['objects']['count']}{of_them}")
    print(f"recovery   {answer['recovery']['state']}")
    print(f"broker     {answer['broker']['state']}")
    for host in answer["hosts"]:
        in_force = "unknown" if host["policy_in_force"] is None else host["policy_in_force"]
        print(f"host       {host['asset']} ({host['host']}): {host['state']}, policy in force {in_force}")
        for line in _about_host(host):
            print(f"           {line}")
    for rollout in answer["rollouts"]:
        where = f"ring {rollout['ring']} of {len(rollout['rings'])}"
        print(f"roll-out   policy {rollout['version']} of {rollout['layer']}: {rollout['state']}, {where}")
    for drift in answer["drift"]:
        print(f"drift      {drift['text']}")
    from control_plane.cli.coverage import line_of

    for result in answer["coverage"]["results"]:
        print(f"coverage   {line_of(result)}")
    for route in answer["routes"]:
        print(f"route      {route['route']}: {route['waiting']} waiting, {route['delivered']} delivered, "
              f"{route['refused']} refused")  # fmt: skip
    from control_plane.cli.moving import line_of as line_of_move

    for move in answer["moves"]:
        print(f"move       {line_of_move(move)}")
    from control_plane.cli.commands import line_of as line_of_command

    for command in answer["commands"]:
        print(f"command    {line_of_command(command)}")
    for token in answer["tokens_running_out"]:
        print(f"token      {token['name']} of {token['person']} runs out {token['expires']}: see `person renew`")
    for gap in answer["not_evaluated"]:
        print(f"not proved {gap}")
    return 0


def _about_host(host: Mapping[str, Any]) -> Iterator[str]:
    """Yield in a line each what there is to know of a host beside its state."""
    from control_plane.cli.devices import guard_line
    from control_plane.cli.placing import layers_named

    for layer in host["layers"]:
        yield f"layer {layer_line(layer)}"
    if host["moves_to"] is not None:
        yield f"asked to move to {layers_named(host['moves_to'])}, and has not answered"
    if host["spool_bytes"] is not None:
        used = host["spool_used_percent"]
        quota = "no quota" if used is None else f"{used} % of its quota"
        damaged = f"; {host['damaged']} damaged or refused" if host["damaged"] else ""
        yield f"spool: {host['spool_bytes']} bytes, {quota}{damaged}"
    if host["guard"] is not None:
        yield f"device guard: {guard_line(host)}"
    if host["keys"] is not None:
        yield f"keys: {KeyProtection(host['keys']).in_words}"
    if (budget := host["budget"]) is not None:
        verdict = budget["verdict"].upper() if budget["verdict"] == "exceeded" else budget["verdict"]
        yield f"budget: {verdict}: {', '.join(budget['findings'])}"
    if host["openable_here"]:
        yield f"openable on this host: {host['openable_here']}"
    yield from _about_senders(host)
    for route in host["routes"] or ():
        yield f"route {route['name']}: {route['waiting']} waiting on this host"


def _about_senders(host: Mapping[str, Any]) -> Iterator[str]:
    """Yield in a line each what a host says of who sends to it, by association or folder, where there is anything."""
    if host["senders_refused"]:
        named = "`audit find --event capture.association-refused`, and `capture.interception-attempted`, name them"
        yield f"interception attempts: {host['senders_refused']}; {named}"
    if host["commitments_waiting"]:
        yield f"storage commitments waiting: {host['commitments_waiting']}"
    for folder in host["export_folders"] or ():
        where = f"on {folder['lies_on']}" if folder["lies_on"] != MISSING else "MISSING"
        yield f"export folder of {folder['ae_title']}: {where}, {folder['waiting']} waiting"


def layer_line(layer: Mapping[str, Any]) -> str:
    """Return in one line how a host does with a layer that it has besides the organisation's."""
    newest = f"newest {layer['published'] or 'none'}"
    if layer["newest"] not in (0, layer["published"]):
        newest += f", to have {layer['newest']}"
    said = "not reported" if layer["in_force"] is None else f"in force {layer['in_force'] or 'none'}"
    guard = "" if layer["guard_in_force"] is None else f", device guard {layer['guard_in_force'] or 'none'}"
    return f"{layer['layer']}: {said}{guard}, {newest}" + ("" if layer["enrolled"] else "; not given to it")


def sign_in(options: Namespace) -> int:
    answer: Any = door(options).post("/api/v1/sign-in-links", {})
    if options.json:
        return print_json(answer)
    print(answer["link"])
    print("works once, within 15 minutes; open it in a browser on this machine")
    return 0


def find(options: Namespace) -> int:
    asked = {"patient_id": options.patient_id, "study": options.study, "sop_instance": options.sop_instance}
    given: dict[str, Json] = {name: value for name, value in asked.items() if value is not None}
    if options.conflicts:
        given["conflicts"] = True
    answer: Any = door(options).post("/api/v1/objects/find", given)
    if options.json:
        return print_json(answer)
    for found in answer["objects"]:
        print(f"{found['object']}  {found['captured']}  {found['host']}  {found['dataset_bytes']} bytes")
        for line in _siblings(found):
            print(f"    {line}")
    print(f"{len(answer['objects'])} found")
    return 0


def _siblings(found: Mapping[str, Any]) -> Iterator[str]:
    if found["claims"] is None:
        return iter(["its attributes were not evaluated, so nobody knows what else claims to be this image"])
    kinds = (tuple(found[name]) for name in ("conflicts_with", "same_as", "not_compared"))
    return lines(Siblings(found["claims"], *kinds))


def settle(options: Namespace) -> int:
    object_id = ObjectId.parse(options.object)
    answer: Any = door(options).post(f"/api/v1/objects/{object_id}/settle", {"reason": options.reason})
    if options.json:
        return print_json(answer)
    print(f"the conflict that {object_id} is in is settled; every object of it is kept, and stays flagged")
    return 0


def open_image(options: Namespace) -> int:
    body = {"reason": options.reason, "as": "dataset" if options.bare else "part10"}
    path = f"/api/v1/objects/{ObjectId.parse(options.object)}/open"
    size, checks = download(options, "POST", path, body)
    if options.json:
        return print_json({"file": str(options.out), "bytes": size, "checks": json.loads(checks)})
    for check in json.loads(checks):
        print(f"{check['state']:14} {check['check']}  {check['detail']}")
    print(f"{options.out}: {size} bytes")
    return 0


def custody(options: Namespace) -> int:
    size, _ = download(options, "POST", f"/api/v1/objects/{ObjectId.parse(options.object)}/custody", {})
    if options.json:
        return print_json({"file": str(options.out), "bytes": size})
    print(f"{options.out}: {size} bytes; prove an image with: "
          f"leadglass-verify image IMAGE --custody {options.out} --ca CA.pem")  # fmt: skip
    return 0


def audit_tail(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/audit/records")
    if options.json:
        return print_json(answer)
    for record in answer["records"]:
        print(record_line(record))
    return 0


def record_line(record: Mapping[str, Any]) -> str:
    who = ", ".join(p["name"] for p in record["who"])
    what = ", ".join(s["name"] for s in record["what"])
    altered = "ALTERED  " if record["altered"] else ""
    told = f"{altered}{record['event']}  {who}  {what}  {record['reason']}".rstrip()
    return f"{record['time']}  {record['source'][:13]} {record['seq']:>6}  {told}"


_COMPARED = {
    "certificates": "held against the log",
    "merkle-log": "entries",
    "search-index": "compared",
    "blind-index": "compared",
    "database": "tables",
}


def kept_checkpoint(file: Path) -> str:
    """Raises Malformed: it is none."""
    text = file.read_text(errors="replace")
    try:
        Note.parse(text)
    except Malformed as exc:
        raise Malformed(f"--kept {file}", "it is no checkpoint, as `audit checkpoint --out` writes one") from exc
    return text


def audit_verify(options: Namespace) -> int:
    kept: list[Json] = [kept_checkpoint(path) for path in options.kept]
    # Every record and every image is looked at before the answer begins.
    answer: Any = door(options, is_patient=True).post("/api/v1/audit/verify", {"checkpoints": kept} if kept else {})
    if options.json:
        print_json(answer)
    else:
        for source, verdict in sorted(answer.items()):
            one = "entry" if source in ("merkle-log", "search-index", "blind-index") else "record"
            where = "" if verdict["first_bad"] is None else f"{one} {verdict['first_bad']}: "
            bad = f"; {where}{verdict['why']}" if verdict["why"] else ""
            what = _COMPARED.get(source, "records")
            print(f"{source}: {verdict['records']} {what}, {verdict['state']}{bad}")
    return 0 if all(verdict["state"] == "verified" for verdict in answer.values()) else 1


def audit_export(options: Namespace) -> int:
    size, _ = download(options, "GET", "/api/v1/audit/export", None)
    if options.json:
        return print_json({"file": str(options.out), "bytes": size})
    print(f"{options.out}: {size} bytes; check it with: leadglass-verify audit {options.out} --ca CA.pem")
    return 0


def download(options: Namespace, method: str, path: str, body: Mapping[str, Json] | None) -> tuple[int, str]:
    """Write the answer to a new file for its owner only; leave nothing behind when it does not come whole.

    The file is made first: what cannot be kept is not asked for, for the log would name a release that was none.
    """
    people = door(options)
    descriptor = os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            checks, pieces = people.download(method, path, body)
            return sum(file.write(piece) for piece in pieces), checks
    except BaseException:
        options.out.unlink()
        raise


def print_json(value: object) -> int:
    print(json.dumps(value, indent=2))
    return 0
