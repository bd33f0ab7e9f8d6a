"""Policy commands. Signing happens here, on the person's machine, with the key in the credential."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from control_plane.cli.people import door
from control_plane.policy import authoring
from control_plane.policy.exchange import PolicyParts
from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.beside import FolderOf
from control_plane.policy.file.meaning import describe, doubts
from control_plane.policy.file.reading import parse_policy_file
from control_plane.policy.file.schema import schema_text
from shared.clock import SystemClock


def check(options: Namespace) -> int:
    authored = authored_from(options.file)
    doubtful = doubts(authored)
    if options.json:
        told = {"layer": authored.layer, "modalities": len(authored.modalities), "state": "checked"}
        print(json.dumps({**told, "meaning": describe(authored), "doubts": doubtful}))
        return 0
    print("\n".join(describe(authored)))
    for doubt in doubtful:
        print(f"is this meant? {doubt}")
    print(f"{options.file}: layer {authored.layer}, {len(authored.modalities)} modalities; nothing is wrong with it")
    return 0


def authored_from(file: Path) -> AuthoredPolicy:
    return parse_policy_file(file.read_bytes(), str(file), FolderOf(file).read)


def publish(options: Namespace) -> int:
    authored = authored_from(options.file)
    credential = authoring.load_credential(options.credential)
    parts = PolicyParts.parse(door(options).get("/api/v1/policy/parts"))
    return publish_authored(options, authored, credential, parts)


def publish_authored(
    options: Namespace, authored: AuthoredPolicy, credential: authoring.Credential, parts: PolicyParts
) -> int:
    """Sign the next version with the person's key, and have the centre publish it."""
    publication = authoring.author(authored, parts, credential, SystemClock())
    answer: Any = door(options).post("/api/v1/policy/publish", publication.json())
    if options.json:
        print(json.dumps(answer))
    else:
        print(f"policy {answer['version']} is published; `leadglass-server status` shows where it is in force")
    return 0


def schema(options: Namespace) -> int:  # noqa: ARG001 (every command is called with its options)
    print(schema_text(), end="")
    return 0


def root(options: Namespace) -> int:
    credential = authoring.load_credential(options.credential)
    parts = PolicyParts.parse(door(options).get("/api/v1/policy/parts"))
    fingerprints = authoring.root_fingerprints(parts, credential, SystemClock())
    if options.json:
        print(json.dumps({"roots": {str(version): fingerprint for version, fingerprint in fingerprints.items()}}))
        return 0
    for version, fingerprint in fingerprints.items():
        print(f"policy root {version}  {fingerprint}")
    return 0
