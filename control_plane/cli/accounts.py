"""Commands about people, their proofs, tokens and sessions, each one question to the people's door."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from getpass import getpass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.cli import certified
from control_plane.cli.client import DoorRefused, Nobody, PeopleDoor
from control_plane.cli.people import door
from control_plane.durable import replace_whole, write_new
from control_plane.people.secret_text import TOKEN_PATTERN
from control_plane.policy.authoring import load_credential
from shared.canonical import Json
from shared.errors import Malformed

_UNAUTHORISED = 401
_MAX_TOKEN_BYTES = 1024


def list_people(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/people")
    return _print(options, answer, *map(_line_of, answer["people"]))


def show_person(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/people" if options.name else "/api/v1/account")
    people = answer["people"] if options.name else [answer]
    found = next((one for one in people if options.name in (None, one["name"])), None)
    if found is None:
        raise Malformed("name", f"nobody named {options.name} has or had an account here")
    factors = (
        f"  second factor {one['factor']}: {one['kind']}, {one['name']}, since {one['added']}"
        for one in found["second_factors"]
    )
    return _print(options, found, _line_of(found), *factors, f"  recovery codes left: {found['recovery_codes_left']}")


def change_role(options: Namespace) -> int:
    return _handed_over(options, "/api/v1/people/role", {"name": options.name, "role": options.role})


def reset_person(options: Namespace) -> int:
    return _handed_over(options, "/api/v1/people/reset", {"name": options.name})


def propose_administrator(options: Namespace) -> int:
    body = {"name": options.name, "reason": options.reason}
    answer: Any = door(options).post("/api/v1/people/administrators", body)
    said = f"request {answer['request']} waits for another administrator, until {answer['expires']}"
    return _print(options, answer, said, f"they approve it with: leadglass-server requests approve {answer['request']}")


def vouch(options: Namespace) -> int:
    answer = door(options).post("/api/v1/people/vouch", {"name": options.name})
    return _print(options, answer, f"{options.name} counts as another person from now on, by your word")


def set_password(options: Namespace) -> int:
    people = door(options)
    mine: Any = people.get("/api/v1/account")
    current = _ask("Your password now: ") if mine["password"] else ""
    new = _ask("New password: ")
    if _ask("The same again: ") != new:
        raise Malformed("password", "the second time it was another one; nothing was changed")
    answer = people.post("/api/v1/account/password", {"current": current, "new": new})
    return _print(options, answer, "the password is set; other tokens and sessions of yours are ended")


def add_factor(options: Namespace) -> int:
    people = door(options)
    offer: Any = people.post("/api/v1/account/totp", {"password": _ask("Your password: "), "name": options.name})
    print("Put this into the app on your phone (as a QR code, or its secret= part); it is shown this once:")
    print(offer["uri"], flush=True)
    code = _ask("Code that the app shows: ").strip()
    answer: Any = people.post("/api/v1/account/totp/confirm", {"factor": offer["factor"], "code": code})
    return _codes(options, answer, f"second factor {offer['factor']} counts from now on")


def remove_factor(options: Namespace) -> int:
    body = {"factor": options.factor, "password": _ask("Your password: ")}
    answer = door(options).post("/api/v1/account/second-factors/remove", body)
    return _print(
        options, answer, f"second factor {options.factor} counts no more; other tokens and sessions are ended"
    )


def recovery_codes(options: Namespace) -> int:
    answer: Any = door(options).post("/api/v1/account/recovery-codes", {"password": _ask("Your password: ")})
    return _codes(options, answer, "the recovery codes of before are void")


def renew_credential(options: Namespace) -> int:
    """Put a token for a year into the credential: with the one in it, one that was handed over, or all proofs."""
    credential = load_credential(options.credential)
    url = options.url or credential.url
    token = token_in(options.token_file) if options.token_file else credential.token
    try:
        answer: Any = PeopleDoor(url, token).post("/api/v1/tokens/renew", {})
    except DoorRefused as exc:
        if exc.status != _UNAUTHORISED or options.token_file:
            raise
        body: dict[str, Json] = {
            "name": credential.person,
            "password": _ask(f"The token in it is no good any more. Password of {credential.person}: "),
            "code": _ask("Code of your app, or a recovery code: ").strip(),
        }
        answer = PeopleDoor(url, token).post("/api/v1/sign-in", body)
    mine: Any = PeopleDoor(url, answer["token"]).get("/api/v1/account")
    renewed = replace(credential, token=answer["token"], role=mine["role"])
    replace_whole(options.credential, renewed.encode())
    if "before" in answer:
        # Only now: whoever lost the answer could not have asked again.
        PeopleDoor(url, answer["token"]).post("/api/v1/tokens/end", {"token": answer["before"]})
    return _print(options, {"file": str(options.credential)}, f"{options.credential}: renewed, for a year")


def certificate(options: Namespace) -> int:
    """Have a key that is made here certified for some hours; whoever asks shows password and second factor."""
    credential = load_credential(options.credential)
    if options.out.exists():
        raise FileExistsError(17, "exists already; it is never overwritten", str(options.out))
    key = ec.generate_private_key(ec.SECP256R1())
    body: dict[str, Json] = {
        "name": credential.person,
        "password": _ask(f"Password of {credential.person}: "),
        "code": _ask("Code of your app, or a recovery code: ").strip(),
        "csr": certified.request_for(key),
    }
    answer: Any = PeopleDoor(options.url or credential.url, Nobody()).post("/api/v1/sign-in/certificate", body)
    certified.keep(options.out, key, answer["certificate"])
    shown: Json = {"file": str(options.out), "session": answer["session"], "expires": answer["expires"]}
    said = f"{options.out}: until {answer['expires']}; show it as --signed-by {options.out}, beside --as"
    ends = f"it ends sooner with: leadglass-server session end {answer['session']} --as CREDENTIAL"
    return _print(options, shown, said, ends)


def new_token(options: Namespace) -> int:
    body: dict[str, Json] = {"name": options.name, "days": options.days, "scope": options.scope or None}
    answer: Any = door(options).post("/api/v1/tokens", body)
    return _print(options, answer, answer["token"], f"token {answer['id']}, until {answer['expires']}; shown this once")


def list_tokens(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/tokens")
    lines = (
        f"{one['token']}  {one['person']}: {one['name']}, "
        f"{'all' if one['scope'] is None else ' '.join(one['scope'])}, until {one['expires']}"
        for one in answer["tokens"]
    )
    return _print(options, answer, *lines)


def end_token(options: Namespace) -> int:
    answer = door(options).post("/api/v1/tokens/end", {"token": options.token})
    return _print(options, answer, f"token {options.token} opens nothing any more")


def list_sessions(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/sessions")
    lines = (
        f"{one['session']}  {one['person']}: since {one['began']}, by {one['how']}, used {one['used']}"
        for one in answer["sessions"]
    )
    return _print(options, answer, *(tuple(lines) or ("no session is open",)))


def end_session(options: Namespace) -> int:
    answer: Any = door(options).post("/api/v1/sessions/end", {"session": options.session})
    return _print(options, answer, f"ended: {answer['done']}")


def _handed_over(options: Namespace, path: str, body: Mapping[str, Json]) -> int:
    """Have somebody's ways in ended, and keep the token that takes their place in a file for them."""
    if options.token_out.exists():
        raise FileExistsError(17, "exists already; it is never overwritten", str(options.token_out))
    answer: Any = door(options).post(path, body)
    write_new(options.token_out, f"{answer['token']}\n".encode())
    said = (
        f"{options.token_out}: give it to {options.name}, who takes it over with "
        f"leadglass-server person renew --token-file {options.token_out} --as CREDENTIAL"
    )
    return _print(options, {"name": options.name, "file": str(options.token_out)}, said)


def token_in(path: Path) -> str:
    """Raises Malformed, OSError."""
    with path.open(encoding="ascii", errors="replace") as file:
        token = file.read(_MAX_TOKEN_BYTES).strip()
    if not TOKEN_PATTERN.fullmatch(token):
        raise Malformed(f"token file {path}", "expected one token, as `person role` or `person reset` wrote it")
    return token


def _codes(options: Namespace, answer: Any, said: str) -> int:
    codes = answer["recovery_codes"]
    if not codes:
        return _print(options, answer, said)
    told = "recovery codes, each good once instead of the second factor; keep them on paper, they are shown this once:"
    return _print(options, answer, said, told, *(f"  {code}" for code in codes))


def _line_of(person: Mapping[str, Any]) -> str:
    if person["removed"]:
        return f"{person['name']}: {person['role']}, removed {person['removed']}"
    password = "password" if person["password"] else "no password"
    return f"{person['name']}: {person['role']}, {password}, {len(person['second_factors'])} second factors"


def _ask(prompt: str) -> str:
    """Ask a person without showing what they type, or read a line where something else is at the other end."""
    if sys.stdin.isatty():
        return getpass(prompt)
    return sys.stdin.readline().rstrip("\n")


def _print(options: Namespace, answer: Json, *lines: str) -> int:
    print(json.dumps(answer, indent=2) if options.json else "\n".join(lines))
    return 0
