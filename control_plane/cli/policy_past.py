"""Commands that hold one policy against another: what a file would change, what was changed, and taking it back."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from control_plane.cli.client import PeopleDoor
from control_plane.cli.people import door
from control_plane.cli.policies import authored_from, publish_authored
from control_plane.policy.authoring import Credential, load_credential
from control_plane.policy.exchange import PolicyParts
from control_plane.policy.file.authored import authored_of
from control_plane.policy.file.change import Change, change_lines
from control_plane.policy.file.writing import text
from control_plane.policy.past import changes, newest_of, on_hosts, parse_bundle, verify_version_of
from control_plane.policy.together import LayerDocument
from control_plane.policy.verify import layer_version
from control_plane.policy.versions import SIGNED
from shared.canonical import Json
from shared.clock import SystemClock
from shared.errors import Refused
from shared.policy.document import ORGANISATION
from shared.policy.layer import is_part


class NotConfirmed(Refused):
    def __init__(self) -> None:
        super().__init__("nothing was published: it was not confirmed; give --yes where nobody is there to ask")


class SaysTheSame(Refused):
    def __init__(self, version: int, in_force: int) -> None:
        super().__init__(
            f"nothing was published: version {in_force}, which hosts have, says what version {version} said"
        )
        self.version, self.in_force = version, in_force


def diff(options: Namespace) -> int:
    """Say what a file would change; 1 where any of it may do harm."""
    authored, credential, people = authored_from(options.file), load_credential(options.credential), door(options)
    parts = _parts(people)
    if options.against is None:
        held = newest_of(authored.layer, parts, credential, SystemClock())
    else:
        held = _version(people, authored.layer, options.against, parts, credential)
    found = changes(authored, held, on_hosts(parts, credential, SystemClock()))
    version = 0 if held is None else held.version
    if options.json:
        print(json.dumps(_told(version, found), indent=2))
    else:
        title = f"against version {version}" if version else "nothing is published"
        print("\n".join(change_lines(title + _of(authored.layer), found)))
    return 1 if any(change.danger for change in found) else 0


def history(options: Namespace) -> int:
    """Show who published what; 1 where the signatures of any version do not hold."""
    answer: Any = door(options).get("/api/v1/policy/versions", {"most": options.most, "layer": options.layer})
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        for one in answer["versions"]:
            print(_line(one))
        if not answer["versions"]:
            print("nothing is published yet")
    return 0 if all(one["state"] == SIGNED for one in answer["versions"]) else 1


def show(options: Namespace) -> int:
    credential, people = load_credential(options.credential), door(options)
    held = _version(people, options.layer or ORGANISATION, options.version, _parts(people), credential)
    if options.json:
        print(json.dumps(json.loads(held.encode()), indent=2))
    else:
        print(f"# policy version {held.version}{_of(held.layer)}, as `leadglass-server policy show` wrote it")
        print(text(authored_of(held)), end="")
    return 0


def revert(options: Namespace) -> int:
    """Publish what an older version said as the next version, once a person has seen what that changes."""
    credential, people = load_credential(options.credential), door(options)
    parts, layer = _parts(people), options.layer or ORGANISATION
    held = _version(people, layer, options.version, parts, credential)
    now = newest_of(layer, parts, credential, SystemClock())
    authored, version = authored_of(held), layer_version(parts.layers, layer) + 1
    found = changes(authored, now, on_hosts(parts, credential, SystemClock()))
    # A part may say otherwise what comes to the same on its hosts today, and not tomorrow.
    if not found and (now is None or not is_part(layer) or authored_of(now) == authored):
        raise SaysTheSame(options.version, 0 if now is None else now.version)
    title = f"publishing what version {held.version}{_of(layer)} said, as version {version}"
    # Standard output is the answer's alone where a script reads it.
    print("\n".join(change_lines(title, found)), file=sys.stderr if options.json else sys.stdout)
    if not options.yes:
        _confirm(version)
    return publish_authored(options, authored, credential, parts)


def _confirm(version: int) -> None:
    """Raises NotConfirmed unless a person types the number of the version to be made."""
    print(f"type {version} to publish it: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != str(version):
        raise NotConfirmed


def _parts(people: PeopleDoor) -> PolicyParts:
    return PolicyParts.parse(people.get("/api/v1/policy/parts"))


def _version(people: PeopleDoor, layer: str, version: int, parts: PolicyParts, credential: Credential) -> LayerDocument:
    asked = {"layer": layer} if is_part(layer) else None
    bundle = parse_bundle(people.get(f"/api/v1/policy/versions/{version}", asked), layer)
    return verify_version_of(bundle, version, parts, credential, SystemClock())


def _of(layer: str) -> str:
    return f" of layer {layer}" if is_part(layer) else ""


def _told(against: int, changes: Sequence[Change]) -> dict[str, Json]:
    return {"against": against, "changes": [change.json() for change in changes]}


def _line(one: Mapping[str, Any]) -> str:
    marks = f"; {one['dangers']} dangerous" if one["dangers"] else ""
    state = "" if one["state"] == SIGNED else f"; NOT AUTHENTIC: {one['state']}"
    return f"{one['version']:>6}  {one['published']}  {one['person']}  {one['changed']}{marks}{state}"
