"""Commands around who signs policy: drafts that several people sign, new roots, keys, and accounts of signers."""

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.metadata import Key, Root, Targets

from control_plane.cli.client import PeopleDoor
from control_plane.cli.people import door
from control_plane.cli.rollouts import plan_of
from control_plane.durable import replace_whole, write_new
from control_plane.policy import drafts, person_key, proposing
from control_plane.policy.authoring import (
    Credential,
    ForeignRoot,
    load_credential,
    store_credential,
    verify_roots_lead_to,
)
from control_plane.policy.drafts import (
    MAX_DRAFT_BYTES,
    Draft,
    Signatory,
    SignaturesNeeded,
    harm,
    missing,
    tell,
    verify_draft,
)
from control_plane.policy.exchange import PolicyParts, Publication
from control_plane.policy.file.authored import AuthoredPart, authored_of
from control_plane.policy.file.change import change_lines
from control_plane.policy.file.meaning import describe, doubts
from control_plane.policy.past import changes
from control_plane.policy.roles import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    RoleKeys,
    delegated_layers,
    held_keys,
    key_of,
    name_of,
    parse_role,
)
from control_plane.policy.root_change import WHENEVER, Need
from control_plane.policy.seen import SeenRoot
from control_plane.policy.together import LayerDocument, parse_document
from control_plane.policy.verify import Held, verify_roots, verify_targets
from shared import clock
from shared.canonical import Json
from shared.clock import SystemClock
from shared.devices.printable import printable
from shared.errors import Malformed, Refused
from shared.fields import Fields
from shared.policy.layer import is_part


class PolicyForOne(Refused):
    """The policy is written and one person alone cannot publish it."""

    def __init__(self, lacking: Sequence[Need], found: Sequence[str] = (), *, rings: bool = False) -> None:
        harm = f". What may do harm: {'; '.join(found)}" if found else ""
        super().__init__(
            f"your signature alone does not publish this ({_lacking(lacking)}); write a draft for the others to sign: "
            f"leadglass-server policy propose FILE{' --rings' * rings} --out DRAFT --as CREDENTIAL, and they: "
            f"leadglass-server policy sign DRAFT --as CREDENTIAL{harm}"
        )
        self.lacking = tuple(lacking)


class DraftForOne(Refused):
    def __init__(self, lacking: Sequence[Need]) -> None:
        super().__init__(f"others have to sign this too ({_lacking(lacking)}); say --out DRAFT, and hand that on")
        self.lacking = tuple(lacking)


def signers(options: Namespace) -> int:
    mine = load_credential(options.credential).signer.public_key
    parts = PolicyParts.parse(door(options).get("/api/v1/policy/parts"))
    root = verify_roots(parts.roots, WHENEVER)
    roles, is_mine = _roles(root, parts), _leads_to(parts, mine)
    if options.json:
        told = {
            role: {
                "threshold": held.threshold,
                "keys": {key.keyid: name_of(key) for key in held.keys},
                "expires": None if until is None else clock.text(until),
            }
            for role, (held, until) in roles.items()
        }
        print(json.dumps({"root_version": root.version, "signed_by_you": is_mine, "roles": told}, indent=2))
        return 0
    print(f"policy root {root.version}")
    for role, (held, until) in roles.items():
        print(f"{role:13} {_who(role, held)}" + ("" if until is None else f"; until {until:%Y-%m-%d}"))
    for key in {key.keyid: key for held, until in roles.values() if until is not None for key in held.keys}.values():
        print(f"key           {key.keyid}  {name_of(key)}")
    if not is_mine:
        print("not proved    none of the roots carries a signature of yours, so this is the centre's word alone")
    return 0


def propose_root(options: Namespace) -> int:
    wish = proposing.Wish(
        add=tuple(person_key.load_public(file).key for file in options.add),
        remove=tuple(options.remove),
        threshold=options.threshold,
        online=_next_online_key(door(options)) if options.new_online_key else None,
        of_root=options.only != "policies",
        of_policies=options.only != "root",
    )
    if wish == proposing.Wish(of_root=wish.of_root, of_policies=wish.of_policies):
        raise Malformed("policy root propose", "give --add, --remove, --threshold or --new-online-key")
    return _change_root(wish, options)


def renew_root(options: Namespace) -> int:
    return _change_root(proposing.Wish(), options)


def review(options: Namespace) -> int:
    draft = _load(options.draft)
    lacking = missing(draft)
    if options.json:
        print(json.dumps({"tells": list(_told(draft)), "missing": [need.text for need in lacking]}))
        return 0
    print("\n".join(_told(draft)))
    _print_missing(lacking)
    return 0


def sign(options: Namespace) -> int:
    draft = _load(options.draft)
    if not options.json:
        print("\n".join(_told(draft)))
    seen = SeenRoot(options.credential or options.key)
    seen.verify(draft.parts.roots)
    signed = drafts.sign(draft, signatory(options))
    seen.remember(draft.parts.roots)
    replace_whole(options.draft, signed.encode())
    lacking = missing(signed)
    if options.json:
        print(json.dumps({"signed": str(options.draft), "missing": [need.text for need in lacking]}))
        return 0
    print(f"{options.draft}: your signature is in it")
    _print_missing(lacking)
    return 0


def publish_draft(options: Namespace) -> int:
    draft = _load(options.file)
    if lacking := missing(draft):
        raise SignaturesNeeded(lacking)
    return send(draft, options, door(options))


def send(draft: Draft, options: Namespace, people: PeopleDoor) -> int:
    """Publish what enough people have signed."""
    if (change := draft.change) is not None:
        answer: Any = people.post("/api/v1/policy/root", change.json())
        said = f"policy root {answer['version']} is published; hosts take it with the next policy they fetch"
    elif (addition := draft.addition) is not None:
        answer = people.post("/api/v1/policy/targets", addition.json())
        said = "the layers are added; publish a policy for each, and issue codes with --site or --type for its hosts"
    else:
        layer = draft.layers[0]
        of_part = f" of layer {layer.layer}" if is_part(layer.layer) else ""
        plan = plan_of(options, layer.layer, _policies_of(draft), people)
        in_rings: dict[str, Json] = {} if plan is None else {"plan": plan.json()}
        answer = people.post("/api/v1/policy/publish", {**Publication.of(layer).json(), **in_rings})
        said = f"policy {answer['version']}{of_part} is published; `leadglass-server status` shows where it is in force"
        if plan is not None:
            where = f" --layer {layer.layer}" if is_part(layer.layer) else ""
            said = (
                f"policy {answer['version']}{of_part} is published to the first of {len(plan.rings)} rings; "
                f"`leadglass-server policy rings{where}` shows how it does there"
            )
        if answer["remark"]:
            said += f"\nrecorded: {printable(answer['remark'], len(answer['remark']))}"
    if not answer["remark"]:
        del answer["remark"]  # a script reads what there is to know
    print(json.dumps(answer) if options.json else said)
    return 0


def _policies_of(draft: Draft) -> list[LayerDocument]:
    """Return what hosts may act by while what is drafted is rolled out."""
    layers = {each.layer: each for each in (*draft.parts.layers, *draft.layers)}
    return [parse_document(each.layer, data) for each in layers.values() for data in (each.policy, each.stable) if data]


def new_key(options: Namespace) -> int:
    return _made(person_key.new_key(options.file, options.name), options)


def key_on_token(options: Namespace) -> int:
    made = person_key.key_on_token(options.file, options.name, token=options.token, key_id=options.id)
    return _made(made, options)


def add_person(options: Namespace) -> int:
    mine, key = load_credential(options.credential), person_key.load_public(options.key)
    if options.out.exists():
        raise FileExistsError(17, "exists already; it is never overwritten", str(options.out))
    answer: Any = door(options).post("/api/v1/people", {"name": key.name, "role": options.role})
    # The keys that images are sealed to are taken from a person's credential and not from the centre's word.
    theirs = Credential(key.name, options.role, mine.url, answer["token"], mine.pinned_keys, mine.receipt_key_id, key)
    store_credential(options.out, theirs)
    if options.json:
        print(json.dumps({"file": str(options.out), "person": key.name}))
        return 0
    print(f"{options.out}: the credential of {key.name}; give it to them, to be kept beside their key")
    print("what they sign counts once a root names their key: leadglass-server policy root propose --add "
          f"{options.key} --threshold N --out DRAFT --as CREDENTIAL")  # fmt: skip
    return 0


def remove_person(options: Namespace) -> int:
    answer: Any = door(options).post("/api/v1/people/remove", {"name": options.name})
    if options.json:
        print(json.dumps(answer))
        return 0
    print(f"the account of {options.name} is closed; what their key signs still counts until a root leaves it out: "
          f"leadglass-server policy root propose --remove '{options.name}'")  # fmt: skip
    return 0


def _change_root(wish: proposing.Wish, options: Namespace) -> int:
    people = door(options)
    parts = PolicyParts.parse(people.get("/api/v1/policy/parts"))
    seen = SeenRoot(options.credential)
    seen.verify(parts.roots)
    draft = proposing.propose_root(wish, parts, signatory(options), SystemClock())
    seen.remember(parts.roots)
    if options.out is not None:
        return hand_on(draft, options)
    if lacking := missing(draft):
        raise DraftForOne(lacking)
    return send(draft, options, people)


def hand_on(draft: Draft, options: Namespace) -> int:
    write_new(options.out, draft.encode())
    lacking = missing(draft)
    if options.json:
        print(json.dumps({"draft": str(options.out), "missing": [need.text for need in lacking]}))
        return 0
    print("\n".join([*tell(draft), *danger_lines(draft)]))
    print(f"{options.out}: the draft, with your signature")
    _print_missing(lacking)
    return 0


def _told(draft: Draft) -> Iterator[str]:
    yield from tell(draft)
    if draft.targets:
        return
    layer = draft.layers[0]
    authored = authored_of(parse_document(layer.layer, layer.policy))
    yield from describe(authored)
    yield from (f"is this meant? {doubt}" for doubt in doubts(authored))
    if isinstance(authored, AuthoredPart):
        yield from _told_of_part(authored, Held.of(draft.parts))
    yield from danger_lines(draft)


def danger_lines(draft: Draft) -> list[str]:
    """Return what may do harm in the change that a verified draft makes."""
    return [f"DANGER: {why}" for why in harm(draft)]


def _told_of_part(authored: AuthoredPart, held: Held) -> Iterator[str]:
    """Say what a part changes on its hosts: of a draft that was verified, so all that it is held against is."""
    in_force = held.in_force(authored.layer)
    before = parse_document(authored.layer, in_force) if in_force else None
    found = changes(authored, before, held.on_hosts())
    title = f"against version {before.version}" if before else "nothing is published of it"
    yield from change_lines(f"what changes on its hosts, {title}", found)


def _print_missing(lacking: Sequence[Need]) -> None:
    for need in lacking:
        print(f"still to sign  {need.text}")
    if not lacking:
        print("enough people have signed; publish it: leadglass-server policy publish DRAFT --as CREDENTIAL")


def _lacking(lacking: Sequence[Need]) -> str:
    return "; ".join(need.text for need in lacking)


def _roles(root: Root, parts: PolicyParts) -> dict[str, tuple[RoleKeys, datetime | None]]:
    """Return who signs each role, and until when what they signed holds; of a layer that has nothing yet, none."""
    targets = verify_targets(root, parts.targets, WHENEVER)
    until = {held.layer: parse_role(Targets, held.metadata).signed.expires for held in parts.layers}
    return {
        ROOT: (held_keys(root, ROOT), root.expires),
        TARGETS: (held_keys(root, TARGETS), targets.expires),
        **{layer: (held_keys(targets, layer), until.get(layer)) for layer in delegated_layers(targets)},
        **{role: (held_keys(root, role), None) for role in (SNAPSHOT, TIMESTAMP)},
    }


def _leads_to(parts: PolicyParts, mine: Key) -> bool:
    """Return whether the roots lead to a signature of this person, who may have an account and none yet."""
    try:
        verify_roots_lead_to(parts.roots, mine)
    except ForeignRoot:
        return False
    return True


def _who(role: str, held: RoleKeys) -> str:
    if role in (SNAPSHOT, TIMESTAMP):
        return f"the control plane's online key {held.keys[0].keyid[:16]}"
    return f"{held.threshold} of {len(held.keys)}: {', '.join(name_of(key) for key in held.keys)}"


def signatory(options: Namespace) -> Signatory:
    compared = getattr(options, "root", None) or ""
    if options.credential is not None:
        credential = load_credential(options.credential)
        return Signatory(credential.signer, credential, compared)
    key = person_key.load_public(options.key)
    return Signatory(person_key.signer_for(key, options.key.parent), None, compared)


def _next_online_key(people: PeopleDoor) -> Any:
    answer = Fields(people.post("/api/v1/policy/online-key", {}), "online key")
    return key_of(person_key.parse_spki(answer.base64("public", max_bytes=1024)))


def _made(key: person_key.PersonKey, options: Namespace) -> int:
    public = person_key.public_file(options.file)
    if options.json:
        print(json.dumps({"file": str(public), "key": key.key.keyid, "name": key.name}))
        return 0
    print(f"key {key.key.keyid}")
    print(f"{public}: for whoever makes {key.name} a signer; it is no secret, but tell them the key id yourself")
    return 0


def _load(file: Path) -> Draft:
    with file.open("rb") as opened:
        data = opened.read(MAX_DRAFT_BYTES + 1)
    if not Draft.is_one(data):
        raise Malformed(str(file), "it is no draft; `policy propose` writes one of a policy file")
    draft = Draft.parse(data)
    verify_draft(draft)
    return draft
