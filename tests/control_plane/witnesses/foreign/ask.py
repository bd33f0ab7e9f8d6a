"""Asks a witness with a client that is not ours: tree, checkpoint, request and verification are of aics-witness.

python ask.py URL VKEY CA SEED ORIGIN      (prints JSON: what became of each request)
"""

import json
import ssl
import sys
from collections.abc import Callable

from aics_tlog import (  # type: ignore[import-not-found]
    Checkpoint,
    MerkleTree,
    parse_note,
    parse_vkey,
    sign_checkpoint,
    verify_checkpoint,
    vkey_from_ed25519,
)
from aics_witness.feeder import (  # type: ignore[import-not-found]
    FeederError,
    WitnessClient,
    WitnessConflict,
    WitnessRejected,
    merge_cosignatures,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def main(url: str, vkey: str, ca: str, seed: str, origin: str) -> None:
    key, context = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)), ssl.create_default_context(cafile=ca)
    tree, other = (MerkleTree(f"{number}{view}".encode() for number in range(21)) for view in ("", " another"))

    def note(size: int, shown: MerkleTree = tree, signer: Ed25519PrivateKey = key, name: str = origin) -> bytes:
        signed: bytes = sign_checkpoint(Checkpoint(name, size, shown.root(size)), signer, name).to_bytes()
        return signed

    def sent(size: int, checkpoint: bytes, shown: MerkleTree = tree) -> str:
        client = WitnessClient(url, vkey, ssl_context=context, max_attempts=1)  # it has forgotten what it knew
        lines = client.submit(checkpoint, shown.consistency_proof)
        merged = parse_note(merge_cosignatures(checkpoint, lines))
        judged = verify_checkpoint(merged, vkey_from_ed25519(origin, key.public_key()), [parse_vkey(vkey)], 1)
        return f"cosigned {size}" if judged.ok else f"not verified: {judged.error}"

    stranger = Ed25519PrivateKey.generate()
    steps = {
        "first": lambda: sent(5, note(5)),
        "learns the size and goes on": lambda: sent(9, note(9)),
        "again": lambda: sent(9, note(9)),
        "another view": lambda: sent(12, note(12, other), other),
        "another root": lambda: sent(9, note(9, other), other),
        "rolled back": lambda: sent(7, note(7)),
        "another key": lambda: sent(12, note(12, tree, stranger)),
        "unknown log": lambda: sent(12, note(12, tree, stranger, "example.com/unknown")),
        "goes on": lambda: sent(21, note(21)),
    }
    sys.stdout.write(json.dumps({name: said(step) for name, step in steps.items()}))


def said(step: Callable[[], str]) -> str:
    try:
        return step()
    except WitnessRejected as exc:
        return f"refused {exc.status}"
    except WitnessConflict as exc:
        return f"it has {exc.known_size}"
    except FeederError as exc:
        return f"{type(exc).__name__}: {exc}"


if __name__ == "__main__":
    main(*sys.argv[1:])
