"""Puts our vectors to a witness, and to a client, that are not ours: aics-witness, aics-tlog.

python judge.py FOLDER FILE...      (FOLDER is for databases; prints JSON: what was answered to each)
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

from aics_tlog import parse_checkpoint, parse_note, parse_vkey, verify_cosignature  # type: ignore[import-not-found]
from aics_witness import LogConfig, Witness, WitnessError, WitnessStore  # type: ignore[import-not-found]
from aics_witness.protocol import (  # type: ignore[import-not-found]
    ProtocolError,
    parse_signature_lines,
    parse_size_body,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def add_checkpoint(given: Any, database: Path) -> Any:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(given["witness"]["seed_hex"]))
    logs = [LogConfig(origin=parse_vkey(one).name, vkeys=(parse_vkey(one),), extension_lines=True)
            for one in given["logs"]]  # fmt: skip
    with WitnessStore(database, create=True) as store:
        witness = Witness(given["witness"]["name"], key, store, logs, clock=lambda: given["time"])
        for before in given["before_base64"]:
            witness.add_checkpoint(base64.b64decode(before))
        try:
            body = witness.add_checkpoint(base64.b64decode(given["request_base64"]))
        except WitnessError as exc:
            conflict = {"content_type": exc.content_type, "body": exc.body.decode()} if exc.status == 409 else {}
            return {"status": exc.status} | conflict
    return {"status": 200, "body": body.decode()}


def cosignatures(given: Any, _: Path) -> Any:
    keys = {(key.name, key.key_id): key for key in map(parse_vkey, given["witnesses"])}
    head = parse_checkpoint(parse_note(given["checkpoint"]).text)
    try:
        lines = parse_signature_lines(base64.b64decode(given["answer_base64"]).decode())
    except ProtocolError:
        return {"error": "Malformed"}
    known = [(keys[one.name, one.key_id], one) for one in lines if (one.name, one.key_id) in keys]
    by = [
        {"name": one.name, "time": int.from_bytes(one.signature[:8], "big")}
        for key, one in known
        if verify_cosignature(one.signature, key.name, key.public_key, head.origin, head.size, head.root)
    ]
    return {"by": by} if by and len(by) == len(known) else {"error": "NoteUnverified"}


def witness_size(given: Any, _: Path) -> Any:
    try:
        return {"size": parse_size_body(base64.b64decode(given["body_base64"]))}
    except ProtocolError:
        return {"error": "Malformed"}


KINDS = {"add-checkpoint": add_checkpoint, "cosignatures": cosignatures, "witness-size": witness_size}


def main(folder: Path, files: list[Path]) -> None:
    answers = {}
    for file in files:
        vector = json.loads(file.read_text())
        answers[file.name] = KINDS[vector["kind"]](vector["given"], folder / f"{file.stem}.db")
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), list(map(Path, sys.argv[2:])))
