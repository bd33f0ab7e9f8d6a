"""Moves a host to another site or type of modality: a command that is signed here, held against what is published."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from control_plane.cli.commands import draw_up, lasts, send_or_keep
from control_plane.cli.named_host import named_host
from control_plane.cli.people import door
from control_plane.fleet.commands import LayerNotPublished
from control_plane.policy.authoring import load_credential
from control_plane.policy.evidence import PersonSigner
from control_plane.policy.exchange import PolicyParts
from shared.clock import SystemClock
from shared.fleet.command import Argument, CommandAction, parts_of, sign_command
from shared.identity import HostId
from shared.policy.layer import named_parts


def move(options: Namespace) -> int:
    named_parts(site=options.site, modality_type=options.type)
    arguments: Mapping[str, Argument] = {"site": options.site or "", "modality_type": options.type or ""}
    people, credential = door(options), load_credential(options.credential)
    verify_published(parts_of(arguments), PolicyParts.parse(people.get("/api/v1/policy/parts")))
    answer: Any = people.get("/api/v1/status")
    host_id = HostId.parse(named_host(answer["hosts"], options.host)["host"])
    life = lasts(options.lasts)
    command = draw_up(credential.person, host_id, CommandAction.SET_LAYERS, arguments, life, SystemClock())
    return send_or_keep(options, sign_command(command, [PersonSigner(credential.signer)]))


def verify_published(wanted: Sequence[str], parts: PolicyParts) -> None:
    """Raises LayerNotPublished: a host could not verify it, and would stay where it is."""
    published = {layer.layer for layer in parts.layers}
    for layer in wanted:
        if layer not in published:
            raise LayerNotPublished(layer)


def layers_named(layers: Sequence[str]) -> str:
    return " and ".join(layers) or "no layer besides the organisation's"
