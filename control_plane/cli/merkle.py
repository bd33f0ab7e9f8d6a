"""The Merkle log as files: checkpoints to keep, proofs to give away, all of it to verify elsewhere."""

import os
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from control_plane.cli.people import door, print_json
from shared.audit.tlog.checkpoint import claimed_head
from shared.audit.tlog.tiles import WIDTH, Tile, tiles_of
from shared.errors import Malformed

_LOG = "/api/v1/log"
_KEY = "log-key.json"


def checkpoint(options: Namespace) -> int:
    _, pieces = door(options).download("GET", f"{_LOG}/checkpoint", None)
    note = b"".join(pieces)
    head = claimed_head(note.decode())
    _write(options.out, [note])
    if options.json:
        return print_json({"file": str(options.out), "size": head.size, "root": head.root.hex()})
    print(f"{options.out}: {head.size} entries, root {head.root.hex()}")
    print(f"keep it elsewhere; later: leadglass-server audit verify --kept {options.out}")
    return 0


def witnesses(options: Namespace) -> int:
    """Say who saw what; 0 only where nobody saw what this log does not have."""
    people = door(options)
    answer: Any = people.get(f"{_LOG}/witnesses")
    if options.out is not None:
        _, pieces = people.download("GET", f"{_LOG}/cosigned", None)
        _write(options.out, pieces)
    bad = [one for one in answer["witnesses"] if one["consistent"] is False]
    open_findings = [one for one in answer["findings"] if one["accepted_by"] is None]
    if options.json:
        print_json(answer)
    else:
        _show(answer)
    return 1 if bad or open_findings else 0


def _show(answer: Any) -> None:
    log = answer["log"]
    print(f"log {log['origin']}: {log['size']} entries, root {log['root']}")
    print(f"    {log['vkey']}")
    for one in answer["witnesses"]:
        who = f"{one['name']} ({one['asset']})" if one["asset"] else one["name"]
        if one["consistent"] is None:
            said = f"has cosigned nothing{'; ' * bool(one['why'])}{one['why']}"
        else:
            state = "consistent" if one["consistent"] else f"NOT CONSISTENT: {one['why']}"
            silent = f"; silent since {one['heard']}" if one["silent"] else ""
            said = f"saw {one['size']} entries, root {one['root']}, at {one['cosigned']}: {state}{silent}"
        print(f"{who}: {said}")
        if one["vkey"]:
            print(f"    {one['vkey']}")
    if not answer["witnesses"]:
        print("no witness: only whoever keeps a checkpoint elsewhere can tell that this log was cut off or exchanged")
    for one in answer["findings"]:
        state = f"accepted by {one['accepted_by']}" if one["accepted_by"] else "open"
        print(f"found ({state}): {one['what']}")
    for origin in answer["others"]:
        print(f"this centre witnesses {origin}, as {answer['own_vkey']}")


def proof(options: Namespace) -> int:
    source, number = options.record
    if not number.isdecimal():
        raise Malformed("number of a record", f"{number!r} is none; `audit tail` shows source and number of each")
    found: Any = door(options).post(f"{_LOG}/proof", {"source": source, "seq": int(number)})
    proved, record = (options.out.with_name(options.out.name + suffix) for suffix in (".tlog-proof", ".json"))
    _write(record, [found["public"].encode()])
    _write(proved, [found["proof"].encode()])
    if options.json:
        return print_json({"proof": str(proved), "record": str(record)})
    print(f"{proved}, {record}; check them with: leadglass-verify log {proved} --record {record} --ca CA.pem")
    return 0


def tiles(options: Namespace) -> int:
    """Write what one checkpoint is of; what is entered meanwhile is not in it."""
    people, folder = door(options), options.out
    size = write_tiles(folder, lambda path: b"".join(people.download("GET", f"{_LOG}/{path}", None)[1]))
    if options.json:
        return print_json({"folder": str(folder), "size": size})
    print(f"{folder}: {size} entries; check them with: leadglass-verify log {folder} --ca CA.pem")
    return 0


def write_tiles(folder: Path, fetch: Callable[[str], bytes]) -> int:
    """Write what the newest checkpoint is of into a new folder; return how many entries that are."""
    folder.mkdir(mode=0o700)
    note = fetch("checkpoint")
    head = claimed_head(note.decode())
    full, width = divmod(head.size, WIDTH)
    bundles = [*(Tile(None, number) for number in range(full)), *([Tile(None, full, width)] if width else [])]
    for tile in (*tiles_of(head.size), *bundles):
        _write(folder / tile.path(), [fetch(tile.path())])
    _write(folder / _KEY, [fetch("key")])
    _write(folder / "checkpoint", [note])
    return head.size


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """Make a file for its owner only; never one that is there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.writelines(pieces)
