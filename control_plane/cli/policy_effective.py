"""What one host acts by: its layers, verified on this machine and put together as the host does, and who said what."""

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from control_plane.cli.named_host import named_host
from control_plane.cli.people import door
from control_plane.policy.authoring import load_credential
from control_plane.policy.exchange import PolicyParts
from control_plane.policy.file.effective_text import effective_lines
from control_plane.policy.past import newest, newest_of
from control_plane.policy.together import LayerDocument
from shared.canonical import Json
from shared.clock import SystemClock
from shared.devices.printable import printable
from shared.errors import Refused
from shared.identity import HostId
from shared.policy.document import PolicyDocument
from shared.policy.effective import effective
from shared.policy.part import PartDocument


class NothingPublished(Refused):
    def __init__(self) -> None:
        super().__init__("nothing is published yet, so no host acts by anything")


def show(options: Namespace) -> int:
    """Print what a host acts by once it has what is published now."""
    credential, people = load_credential(options.credential), door(options)
    status: Any = people.get("/api/v1/status")
    host = named_host(status["hosts"], options.host)
    published = PolicyParts.parse(people.get("/api/v1/policy/parts"))
    organisation = newest(published, credential, SystemClock())
    if organisation is None:
        raise NothingPublished
    layers = [layer["layer"] for layer in host["layers"] if layer["enrolled"]]
    found = {layer: newest_of(layer, published, credential, SystemClock()) for layer in layers}
    parts = [part for part in found.values() if isinstance(part, PartDocument)]
    waits = list(held_back(host["host"], (organisation, *parts), status.get("rollouts", ())))
    if options.json:
        print(json.dumps({**_told(host, organisation, parts), "held_back": waits}, indent=2))
        return 0
    unpublished = [layer for layer in layers if found[layer] is None]
    heading = (*_heading(host, (organisation, *parts), unpublished), *(f"# {line}" for line in waits))
    print("\n".join(printable(line, len(line)) for line in heading))
    print("\n".join(effective_lines(organisation, parts, HostId.parse(host["host"]))))
    return 0


def held_back(host: str, documents: Sequence[LayerDocument], rollouts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield, of each layer of these documents that a host does not have the newest version of, what the centre says."""
    versions = {document.layer: document.version for document in documents}
    goes_by = "by the centre's word it goes by what all hosts had before"
    for rollout in rollouts:
        version, newest = versions.get(rollout["layer"]), rollout["version"]
        what = f"policy {newest} of {rollout['layer']}"
        if rollout["state"] == "reverted":
            # Its document is then the one that hosts were left with.
            if version is not None and version < newest:
                yield f"{what} was taken back: {goes_by}"
        elif version == newest and rollout["state"] != "finished" and not _is_reached(host, rollout):
            yield f"{what} has not reached it: {goes_by}"


def _is_reached(host: str, rollout: Mapping[str, Any]) -> bool:
    opened = [ring for ring in rollout["rings"] if ring["opened"] is not None]
    return any(member["host"] == host for ring in opened for member in ring["members"])


def _heading(host: Mapping[str, Any], documents: Sequence[LayerDocument], unpublished: Sequence[str]) -> Iterator[str]:
    layers = [f"{layer.layer} {layer.version}" for layer in documents]
    yield f"# what {host['asset']} ({host['host']}) acts by, once it has them: {', '.join(layers)}"
    yield f"# images are sealed to the keys that {layers[0]} names"
    for layer in unpublished:
        yield f"# nothing is published of its layer {layer}"


def _told(host: Mapping[str, Any], organisation: PolicyDocument, parts: Sequence[PartDocument]) -> dict[str, Json]:
    acts_by = effective(organisation, parts, HostId.parse(host["host"]))
    documents: tuple[LayerDocument, ...] = (organisation, *parts)
    return {
        "host": host["host"],
        "asset": host["asset"],
        "layers": {layer.layer: layer.version for layer in documents},
        "policy": json.loads(acts_by.policy.encode()),
        "origins": {
            line: {"layer": origin.layer, "version": origin.version, "exception": origin.is_exception}
            for line, origin in acts_by.origins.items()
        },
    }
