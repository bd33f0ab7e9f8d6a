"""Commands about hosts as such, each asked of the people's door."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from control_plane.cli.codes import show_issued
from control_plane.cli.people import door
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import encode_base64
from shared.identity import HostId
from shared.sanitization.certificate import MAX_BYTES as MAX_CERTIFICATE_BYTES


def show(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/status")
    active = [host for host in answer["hosts"] if host["active"]]
    if options.json:
        print(json.dumps([{"host": host["host"], "asset": host["asset"]} for host in active], indent=2))
    else:
        print("".join(f"{host['host']}\n" for host in active), end="")
    return 0


def revoke(options: Namespace) -> int:
    """Revoke a host; 1 where its session at the broker may still be open."""
    answer: Any = door(options).post(
        f"/api/v1/hosts/{quote(options.host, safe='')}/revocation", {"reason": options.reason}
    )
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"{answer['asset']} ({answer['host']}) is revoked; its requests are refused from now on")
        print(f"session at the broker: {answer['session']}")
    return 0 if answer["session"] == "ended" else 1


def settle(options: Namespace) -> int:
    host_id = HostId.parse(options.host)
    body: dict[str, Json] = {"reason": options.reason, "rekey": options.rekey}
    answer: Any = door(options).post(f"/api/v1/hosts/{host_id}/settle", body)
    if options.json:
        print(json.dumps(answer, indent=2))
    elif options.rekey:
        print(f"{host_id}: every certificate is barred, and both machines ask for another one; compare fingerprints, "
              "then `leadglass-server host approve` the right one")  # fmt: skip
    else:
        print(f"{host_id} is in doubt no more; if two machines still report under its identity, it will be again")
    return 0


def lift(options: Namespace) -> int:
    return _asked(options, "lift", {"reason": options.reason})


def take_back(options: Namespace) -> int:
    """By the id of a host that has shown its claim, or else by a file of one."""
    try:
        what: dict[str, Json] = {"host": str(HostId.parse(options.host))}
    except Malformed:
        what = {"claim": encode_base64(Path(options.host).read_bytes())}
    answer: Any = door(options).post("/api/v1/hosts/take-back", {**what, "reason": options.reason})
    if options.json:
        print(json.dumps(answer, indent=2))
    elif answer["done"]:
        print(f"{answer['subject']} is the same host again; nobody else could approve it, and the log says so")
    else:
        print(f"request {answer['request']}: {answer['subject']} is the same host again once another person approves: "
              f"`leadglass-server requests approve {answer['request']}`")  # fmt: skip
    return 0


def decommission(options: Namespace) -> int:
    if options.certificate is not None:
        return _left(options)
    if not options.reason:
        raise Malformed("--reason", "an exception takes one")
    return _asked(options, "decommission", {"reason": options.reason})


def _left(options: Namespace) -> int:
    with options.certificate.open("rb") as file:
        certificate = file.read(MAX_CERTIFICATE_BYTES + 1)
    answer: Any = _post(options, "decommission-by-wipe", {"certificate": encode_base64(certificate)})
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"{answer['host']} is out of service, by the certificate of the wipe of its drive")
    return 0


def asks(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/hosts/asks")
    if options.json:
        print(json.dumps([*answer["asks"], *answer["claims"]], indent=2))
        return 0
    for claim in answer["claims"]:
        layers = " ".join(claim["layers"]) or "no further layers"
        print(f"{claim['host']} {claim['asset']}, {layers}: certified {claim['certified']}, and lost with the log; "
              f"`leadglass-server host take-back {claim['host']} --reason …`")  # fmt: skip
    for ask in answer["asks"]:
        state = f"approved by {ask['approved_by']}" if ask["approved"] else "waits for approval"
        print(f"{ask['host']} {ask['asset']}: {ask['fingerprint']} from {ask['address']} since {ask['asked']}, {state}")
    if not answer["asks"] and not answer["claims"]:
        print("no host asks for a certificate")
    return 0


def approve(options: Namespace) -> int:
    answer: Any = _post(options, "approval", {"fingerprint": options.fingerprint})
    if options.json:
        print(json.dumps(answer["asks"], indent=2))
    else:
        print(f"{options.host}: the machine with {options.fingerprint} gets its certificate when it asks next")
    return 0


def rename(options: Namespace) -> int:
    answer: Any = _post(options, "name", {"asset": options.asset})
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"{answer['host']} is {answer['asset']} now, and was {answer['before']}; it learns that when it renews")
    return 0


def replace(options: Namespace) -> int:
    answer: Any = _post(options, "replacement", {"valid_s": options.valid_s})
    return show_issued(options, answer)


def _asked(options: Namespace, what: str, body: dict[str, Json]) -> int:
    answer: Any = _post(options, what, body)
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"request {answer['request']}: {answer['action']} of {answer['subject']} waits for another person until "
              f"{answer['expires']}: `leadglass-server requests approve {answer['request']}`")  # fmt: skip
    return 0


def _post(options: Namespace, what: str, body: dict[str, Json]) -> Json:
    return door(options).post(f"/api/v1/hosts/{quote(options.host, safe='')}/{what}", body)
