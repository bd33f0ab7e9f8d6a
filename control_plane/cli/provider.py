"""Commands about the identity provider by which people may sign in."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from control_plane.cli.people import door, print_json
from shared.canonical import Json

_MAX_CHARS = 32_768


def set_provider(options: Namespace) -> int:
    body: dict[str, Json] = {
        "issuer": options.issuer, "client_id": options.client_id, "secret": _text(options.client_secret_file).strip(),
        "ca": _text(options.ca), "amr": options.amr, "acr": options.acr,
    }  # fmt: skip
    answer = door(options).post("/api/v1/identity-provider", body)
    if options.json:
        return print_json(answer)
    print(f"people may sign in by {options.issuer}, once they are bound to it: leadglass-server oidc bind NAME SUBJECT")
    if not options.amr and not options.acr:
        print("it is not asked whether it saw a second factor, so ours is asked for in any case")
    return 0


def show(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/identity-provider")
    if options.json:
        return print_json(answer)
    print(f"provider   {answer['issuer'] or 'none'}")
    for one in answer["bound"]:
        print(f"bound      {one['person']}: subject {one['subject']} of {one['issuer']}")
    return 0


def remove(options: Namespace) -> int:
    answer = door(options).post("/api/v1/identity-provider/remove", {})
    if options.json:
        return print_json(answer)
    print("nobody signs in by an identity provider any more")
    return 0


def bind(options: Namespace) -> int:
    return _binding(options, "bind", f"subject {options.subject} signs in as {options.name}")


def unbind(options: Namespace) -> int:
    return _binding(options, "unbind", f"subject {options.subject} signs in as {options.name} no more")


def _binding(options: Namespace, act: str, said: str) -> int:
    answer = door(options).post(f"/api/v1/identity-provider/{act}", {"name": options.name, "subject": options.subject})
    if options.json:
        return print_json(answer)
    print(said)
    return 0


def _text(path: Path | None) -> str:
    if path is None:
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_MAX_CHARS + 1)
