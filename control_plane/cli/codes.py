"""Enrolment codes, each command one question to the people's door."""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from control_plane.cli.people import door
from control_plane.durable import write_new
from control_plane.enrolment import code_list
from shared.canonical import Json
from shared.errors import Malformed
from shared.policy.document import ORGANISATION

_PATH = "/api/v1/enrolment/codes"


def issue(options: Namespace) -> int:
    if options.credential is None:
        raise Malformed("--as", "your credential is missing")
    if (options.asset is None) == (options.list is None):
        raise Malformed("code", "expected --asset NAME, or --list FILE.csv")
    if options.list is not None and (options.site or options.type):
        raise Malformed("code", "--site and --type are in the list")
    issued = _of_a_list(options) if options.list is not None else [_one(options)]
    if options.sheet is not None:
        from control_plane.cli import qr

        sheet = qr.sheet([(code["code"], code["asset"], code["expires"]) for code in issued])
        write_new(options.sheet, sheet.encode())
    if options.json:
        return _print_json(issued[0] if options.list is None else issued)
    for code in issued:
        _show(code, with_qr=options.qr)
    if options.sheet is not None:
        print(f"{options.sheet}: {len(issued)} QR codes; each is a secret until it is used")
    return 0


def show(options: Namespace) -> int:
    answer: Any = door(options).get(_PATH)
    if options.json:
        return _print_json(answer["codes"])
    for code in answer["codes"]:
        host = f" by {code['host']}" if code["host"] else ""
        again = f"; TRIED AGAIN at {code['tried_again']}" if code["tried_again"] else ""
        print(f"{code['code']} {code['state']}{host}: {code['asset']}, issued by {code['issued_by']}, until "
              f"{code['expires']}{again}")  # fmt: skip
    if not answer["codes"]:
        print("no code was issued")
    return 0


def cancel(options: Namespace) -> int:
    answer: Any = door(options).post(f"{_PATH}/{quote(options.code_id, safe='')}/cancel", {})
    return _changed(options, answer, "opens nothing any more")


def settle(options: Namespace) -> int:
    path = f"{_PATH}/{quote(options.code_id, safe='')}/settle"
    answer: Any = door(options).post(path, {"reason": options.reason})
    return _changed(options, answer, "is settled")


def show_issued(options: Namespace, code: Mapping[str, Any]) -> int:
    if options.json:
        return _print_json(code)
    _show(code, with_qr=False)
    return 0


def _one(options: Namespace) -> Any:
    body = {"asset": options.asset, "valid_s": options.valid_s, "site": options.site, "modality_type": options.type}
    return door(options).post(_PATH, body)


def _of_a_list(options: Namespace) -> Sequence[Any]:
    with options.list.open("rb") as file:
        listed = code_list.parse(file.read(code_list.MAX_BYTES + 1))
    entries: list[Json] = [{"asset": one.asset, "site": one.site, "modality_type": one.modality_type} for one in listed]
    body: dict[str, Json] = {"entries": entries, "valid_s": options.valid_s}
    answer: Any = door(options).post("/api/v1/enrolment/code-lists", body)
    codes: Sequence[Any] = answer["codes"]
    return codes


def _show(code: Mapping[str, Any], *, with_qr: bool) -> None:
    print(code["code"])
    parts = [layer for layer in code["layers"] if layer != ORGANISATION]
    layers = f", with the policy of {' and '.join(parts)} beside the organisation's" if parts else ""
    print(f"works once, until {code['expires']}, for {code['asset']}{layers}")
    if with_qr:
        from control_plane.cli import qr

        print(qr.in_terminal(code["code"]))


def _changed(options: Namespace, answer: Mapping[str, Any], what: str) -> int:
    if options.json:
        return _print_json(answer)
    print(f"code {answer['code']} for {answer['asset']} {what}")
    return 0


def _print_json(value: object) -> int:
    print(json.dumps(value, indent=2))
    return 0
