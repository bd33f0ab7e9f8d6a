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
from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.change import Change
from control_plane.policy.file.differences import differences
from control_plane.policy.file.writing import text
from control_plane.policy.past import newest, parse_bundle, verify_version
from control_plane.policy.versions import SIGNED
from shared.canonical import Json
from shared.clock import SystemClock
from shared.errors import Refused
from shared.policy.document import PolicyDocument


class NotConfirmed(Refused):
    def __init__(self) -> None:
        super().__init__("nothing was published: it was not confirmed; give --yes where nobody is there to ask")


class SaysTheSame(Refused):
    def __init__(self, version: int, newest_version: int) -> None:
        super().__init__(
            f"nothing was published: version {newest_version}, the newest, says what version {version} said"
        )
        self.version, self.newest_version = version, newest_version


def diff(options: Namespace) -> int:
    """Say what a file would change; 1 where any of it may do harm."""
    authored, credential, people = authored_from(options.file), load_credential(options.credential), door(options)
    parts = _parts(people)
    if options.against is None:
        held = newest(parts, credential, SystemClock())
    else:
        held = _version(people, options.against, parts, credential)
    changes = differences(None if held is None else AuthoredPolicy.of(held), authored)
    version = 0 if held is None else held.version
    if options.json:
        print(json.dumps(_told(version, changes), indent=2))
    else:
        print("\n".join(_lines(f"against version {version}" if version else "nothing is published", changes)))
    return 1 if any(change.danger for change in changes) else 0


def history(options: Namespace) -> int:
    """Show who published what; 1 where the signatures of any version do not hold."""
    answer: Any = door(options).get("/api/v1/policy/versions", {"most": options.most})
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
    held = _version(people, options.version, _parts(people), credential)
    if options.json:
        print(json.dumps(json.loads(held.encode()), indent=2))
    else:
        print(f"# policy version {held.version}, as `leadglass-server policy show` wrote it")
        print(text(AuthoredPolicy.of(held)), end="")
    return 0


def revert(options: Namespace) -> int:
    """Publish what an older version said as the next version, once a person has seen what that changes."""
    credential, people = load_credential(options.credential), door(options)
    parts = _parts(people)
    held = _version(people, options.version, parts, credential)
    now = newest(parts, credential, SystemClock())
    authored = AuthoredPolicy.of(held)
    changes = differences(None if now is None else AuthoredPolicy.of(now), authored)
    if not changes:
        raise SaysTheSame(options.version, parts.next_version - 1)
    title = f"publishing what version {held.version} said, as version {parts.next_version}"
    # Standard output is the answer's alone where a script reads it.
    print("\n".join(_lines(title, changes)), file=sys.stderr if options.json else sys.stdout)
    if not options.yes:
        _confirm(parts.next_version)
    return publish_authored(options, authored, credential, parts)


def _confirm(version: int) -> None:
    """Raises NotConfirmed unless a person types the number of the version to be made."""
    print(f"type {version} to publish it: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != str(version):
        raise NotConfirmed


def _parts(people: PeopleDoor) -> PolicyParts:
    return PolicyParts.parse(people.get("/api/v1/policy/parts"))


def _version(people: PeopleDoor, version: int, parts: PolicyParts, credential: Credential) -> PolicyDocument:
    bundle = parse_bundle(people.get(f"/api/v1/policy/versions/{version}"))
    return verify_version(bundle, version, parts, credential, SystemClock())


def _lines(title: str, changes: Sequence[Change]) -> list[str]:
    if not changes:
        return [f"{title}: nothing changes"]
    dangers = sum(bool(change.danger) for change in changes)
    title = f"{title}: {len(changes)} changes, {dangers} dangerous"
    return [title, *(line for change in changes for line in change.lines())]


def _told(against: int, changes: Sequence[Change]) -> dict[str, Json]:
    return {"against": against, "changes": [change.json() for change in changes]}


def _line(one: Mapping[str, Any]) -> str:
    marks = f"; {one['dangers']} dangerous" if one["dangers"] else ""
    state = "" if one["state"] == SIGNED else f"; NOT AUTHENTIC: {one['state']}"
    return f"{one['version']:>6}  {one['published']}  {one['person']}  {one['changed']}{marks}{state}"
