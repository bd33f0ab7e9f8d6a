"""Policy commands. Signing happens here, on the person's machine, with the key in the credential."""

import json
from argparse import Namespace
from pathlib import Path

from control_plane.cli.people import door
from control_plane.cli.rollouts import is_in_rings
from control_plane.cli.signing import PolicyForOne, danger_lines, hand_on, publish_draft, send
from control_plane.policy import authoring
from control_plane.policy.drafts import Draft, harm, missing
from control_plane.policy.exchange import PolicyParts
from control_plane.policy.file.authored import Authored, AuthoredPolicy
from control_plane.policy.file.beside import FolderOf
from control_plane.policy.file.meaning import describe, doubts
from control_plane.policy.file.reading import parse_policy_file
from control_plane.policy.file.schema import part_schema, schema_text
from control_plane.policy.file.schema import schema as organisation_schema
from control_plane.policy.proposing import propose_policy
from control_plane.policy.seen import SeenRoot
from shared.clock import SystemClock
from shared.errors import Malformed


def check(options: Namespace) -> int:
    authored = authored_from(options.file)
    doubtful, senders = doubts(authored), _senders(authored)
    if options.json:
        told = {"layer": authored.layer, "modalities": senders, "state": "checked"}
        print(json.dumps({**told, "meaning": describe(authored), "doubts": doubtful}))
        return 0
    print("\n".join(describe(authored)))
    for doubt in doubtful:
        print(f"is this meant? {doubt}")
    print(f"{options.file}: layer {authored.layer}, {senders} modalities; nothing is wrong with it")
    return 0


def _senders(authored: Authored) -> int:
    if isinstance(authored, AuthoredPolicy):
        return len(authored.modalities)
    return sum(len(content.modalities) for content in (authored.content, *(content for _, content in authored.hosts)))


def authored_from(file: Path) -> Authored:
    return parse_policy_file(file.read_bytes(), str(file), FolderOf(file).read)


def publish(options: Namespace) -> int:
    if Draft.is_one(options.file.read_bytes()):
        return publish_draft(options)
    authored = authored_from(options.file)
    credential = authoring.load_credential(options.credential)
    parts = PolicyParts.parse(door(options).get("/api/v1/policy/parts"))
    return publish_authored(options, authored, credential, parts)


def publish_authored(
    options: Namespace, authored: Authored, credential: authoring.Credential, parts: PolicyParts
) -> int:
    """Sign the next version with the person's key, and have the centre publish it where that is enough.

    Raises PolicyForOne.
    """
    rings = is_in_rings(options)
    draft = _signed(authored, parts, credential, options, rings=rings)
    if lacking := missing(draft):
        raise PolicyForOne(lacking, harm(draft), rings=rings)
    if not options.json:
        for line in danger_lines(draft):
            print(line)
    return send(draft, options, door(options))


def propose(options: Namespace) -> int:
    authored = authored_from(options.file)
    credential = authoring.load_credential(options.credential)
    parts = PolicyParts.parse(door(options).get("/api/v1/policy/parts"))
    return hand_on(_signed(authored, parts, credential, options, rings=options.rings), options)


def _signed(
    authored: Authored, parts: PolicyParts, credential: authoring.Credential, options: Namespace, *, rings: bool
) -> Draft:
    seen = SeenRoot(options.credential)
    seen.verify(parts.roots)
    draft = propose_policy(authored, parts, credential, SystemClock(), rings=rings)
    seen.remember(parts.roots)
    return draft


def schema(options: Namespace) -> int:
    print(schema_text(part_schema() if options.part else organisation_schema()), end="")
    return 0


def root(options: Namespace) -> int:
    if options.credential is None:
        raise Malformed("policy root", "--as FILE, your credential, is required")
    credential = authoring.load_credential(options.credential)
    parts = PolicyParts.parse(door(options).get("/api/v1/policy/parts"))
    fingerprints = authoring.root_fingerprints(parts, credential)
    if options.json:
        print(json.dumps({"roots": {str(version): fingerprint for version, fingerprint in fingerprints.items()}}))
        return 0
    for version, fingerprint in fingerprints.items():
        print(f"policy root {version}  {fingerprint}")
    return 0
