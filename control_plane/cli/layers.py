"""Commands around policy layers: which there are, and letting sites and types of modality have their own."""

import json
from argparse import Namespace

from tuf.api.metadata import Targets

from control_plane.cli.people import door
from control_plane.cli.signing import DraftForOne, hand_on, send, signatory
from control_plane.policy import proposing
from control_plane.policy.drafts import missing
from control_plane.policy.exchange import PolicyParts
from control_plane.policy.roles import delegated_layers, parse_role
from control_plane.policy.seen import SeenRoot
from control_plane.policy.verify import layer_version
from shared.clock import SystemClock


def add(options: Namespace) -> int:
    people = door(options)
    parts = PolicyParts.parse(people.get("/api/v1/policy/parts"))
    seen = SeenRoot(options.credential)
    seen.verify(parts.roots)
    draft = proposing.propose_layers(options.names, parts, signatory(options), SystemClock())
    seen.remember(parts.roots)
    if options.out is not None:
        return hand_on(draft, options)
    if lacking := missing(draft):
        raise DraftForOne(lacking)
    return send(draft, options, people)


def show(options: Namespace) -> int:
    """List the layers as the centre tells them; who may sign them is `policy signers`."""
    parts = PolicyParts.parse(door(options).get("/api/v1/policy/parts"))
    versions = {
        layer: layer_version(parts.layers, layer)
        for layer in delegated_layers(parse_role(Targets, parts.targets).signed)
    }
    if options.json:
        print(json.dumps({"layers": versions}, indent=2))
        return 0
    for layer, version in versions.items():
        print(f"{layer:32} {f'version {version}' if version else 'nothing published yet'}")
    return 0
