"""Begins a draft: the next policy, more layers, or the next root with all that is signed anew under it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Key, Targets

from control_plane.policy.authoring import Credential, author
from control_plane.policy.drafts import Draft, Signatory, sign
from control_plane.policy.exchange import PolicyParts
from control_plane.policy.file.authored import Authored
from control_plane.policy.layers_added import build_added
from control_plane.policy.roles import (
    PEOPLE_HOLD_FOR,
    ROOT,
    TARGETS,
    TIMESTAMP,
    RoleKeys,
    build_layer,
    build_root,
    build_targets,
    delegated_layers,
    held_keys,
    is_named,
    name_of,
    named,
    parse_role,
    sign_role,
)
from control_plane.policy.root_change import WHENEVER, RootUnusable
from control_plane.policy.together import parse_document
from control_plane.policy.verify import Held, layer_version, verify_roots
from shared.clock import Clock
from shared.errors import Refused
from shared.policy.bundle import LayerBundle

_LEAST_PREFIX = 8


class SignerUnknown(Refused):
    def __init__(self, wanted: str, known: Sequence[str]) -> None:
        super().__init__(f"{wanted} is the name, or the beginning of the key id, of no signer: {', '.join(known)}")
        self.wanted = wanted


@dataclass(frozen=True)
class Wish:
    """How the next root is to differ from the present one."""

    add: tuple[Key, ...] = ()
    remove: tuple[str, ...] = ()  # names, or how key ids begin
    threshold: int | None = None
    online: SSlibKey | None = None
    of_root: bool = True  # whose signers change: those of the root,
    of_policies: bool = True  # those of targets and layers


def propose_policy(
    authored: Authored, parts: PolicyParts, credential: Credential, clock: Clock, *, rings: bool = False
) -> Draft:
    """Return the next policy with the proposer's signature. Raises what `author` raises."""
    return Draft(parts, (author(authored, parts, credential, clock, rings=rings).bundle,))


def propose_root(wish: Wish, parts: PolicyParts, signatory: Signatory, clock: Clock) -> Draft:
    """Return the next root, and what has to be signed with it, with the proposer's signature.

    Raises RootUnusable, SignerUnknown, and what `sign` raises.
    """
    now = clock.now()
    root, targets = verify_roots(parts.roots, WHENEVER), parse_role(Targets, parts.targets).signed
    names = _names(signatory)
    root_people = _wished(held_keys(root, ROOT), wish, names) if wish.of_root else held_keys(root, ROOT)
    signers = held_keys(root, TARGETS)
    policy_people = _wished(signers, wish, names) if wish.of_policies else signers
    _verify_found(wish, [*held_keys(root, ROOT).keys, *signers.keys])
    online = held_keys(root, TIMESTAMP) if wish.online is None else RoleKeys((wish.online,))
    following = {each.layer: layer_version(parts.layers, each.layer) + 1 for each in parts.layers}
    held = Held.of(parts)
    draft = Draft(
        parts,
        tuple(_again(each.layer, held.in_force(each.layer), following[each.layer], now) for each in parts.layers),
        sign_role(
            build_root(root=root_people, targets=policy_people, online=online, version=root.version + 1, now=now), ()
        ),
        sign_role(
            build_targets(
                dict.fromkeys(delegated_layers(targets), policy_people),
                version=targets.version + 1,
                now=now,
                since=following,
            ),
            (),
        ),
    )
    return sign(draft, signatory)


def propose_layers(names: Sequence[str], parts: PolicyParts, signatory: Signatory, clock: Clock) -> Draft:
    """Return targets that delegate these layers too, with the proposer's signature.

    Raises Malformed, LayerExists, TooManyLayers, and what `sign` raises.
    """
    published = parse_role(Targets, parts.targets).signed
    expires = (clock.now() + PEOPLE_HOLD_FOR).replace(microsecond=0)
    following = build_added(published, names, version=published.version + 1, expires=expires)
    return sign(Draft(parts, (), targets=sign_role(following, ())), signatory)


def _names(signatory: Signatory) -> dict[str, str]:
    """Return the names of keys that the first root, made by an earlier version, does not know."""
    return {} if signatory.credential is None else {signatory.key_id: signatory.credential.person}


def _wished(held: RoleKeys, wish: Wish, names: dict[str, str]) -> RoleKeys:
    threshold = held.threshold if wish.threshold is None else wish.threshold
    if threshold < 1:
        raise RootUnusable("at least one signature has to be needed")
    kept = [key for key in held.keys if not any(_is(key, wanted) for wanted in wish.remove)]
    for key in wish.add:
        if key.keyid in [other.keyid for other in kept]:
            raise RootUnusable(f"{name_of(key)}, key {key.keyid[:16]}, is a signer already")
        kept.append(key)
    keys = tuple(named(key, names[key.keyid]) if key.keyid in names and not is_named(key) else key for key in kept)
    return RoleKeys(keys, threshold)


def _verify_found(wish: Wish, known: Sequence[Key]) -> None:
    for wanted in wish.remove:
        found = {key.keyid for key in known if _is(key, wanted)}
        if len(found) != 1:
            raise SignerUnknown(wanted, sorted({f"{name_of(key)} ({key.keyid[:16]})" for key in known}))


def _is(key: Key, wanted: str) -> bool:
    by_id = len(wanted) >= _LEAST_PREFIX and key.keyid.startswith(wanted)
    return by_id or (is_named(key) and name_of(key) == wanted)


def _again(layer: str, in_force: bytes, version: int, now: datetime) -> LayerBundle:
    """Return the policy that hosts have as the next version, not signed yet."""
    policy = replace(parse_document(layer, in_force), version=version).encode()
    return LayerBundle(layer, sign_role(build_layer(layer, policy, version=version, now=now), ()), policy)
