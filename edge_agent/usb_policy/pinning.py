"""`leadglass-guard trust`: pins whose policy the guard follows, from what the agent's enrolment left.

The agent's folder belongs to another account, so what it says is shown to a person as a fingerprint; and once a root is
pinned, only who names its fingerprint puts another in its place.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from edge_agent.config import HostConfig
from edge_agent.files import make_folder, write_over
from edge_agent.usb_policy.store import accepted_folder
from edge_agent.usb_policy.trust import (
    FileUnreadable,
    NotPinned,
    Trust,
    TrustDamaged,
    load_trust,
    read_small,
    trust_file,
    trusted_metadata,
)
from shared.errors import Refused, Unavailable

_MAX_HOST_BYTES = 128 * 1024
DAMAGED = "damaged"  # what is named in the place of a fingerprint that cannot be read any more


class OtherTrustPinned(Refused):
    def __init__(self, *, pinned: Trust, offered: Trust) -> None:
        super().__init__(
            f"the guard follows {_named(pinned)}, and the agent's identity names {_named(offered)}; if the guard shall "
            f"follow that from now on, run it again with --replace {pinned.fingerprint}"
        )
        self.pinned, self.offered = pinned, offered


class NotTheRootPinned(Refused):
    def __init__(self, *, pinned: str, named: str) -> None:
        super().__init__(f"--replace names {named}, and the root that is pinned is {pinned}")
        self.pinned, self.named = pinned, named


class NotTheRootExpected(Refused):
    def __init__(self, *, offered: Trust, expected: str) -> None:
        super().__init__(
            f"the agent's identity names {_named(offered)}; the administrator named {expected}; nothing was pinned"
        )
        self.offered, self.expected = offered, expected


class RootUnusable(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"the policy root in the agent's identity cannot be used: {why}")
        self.why = why


class TrustNotStored(Unavailable):
    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} cannot be written: {why}")
        self.file, self.why = file, why


@dataclass(frozen=True)
class Pinned:
    trust: Trust
    is_new: bool  # False: this very root was pinned already, and nothing was changed


def pin(state: Path, agent_folder: Path, replace: str | None = None, expected: str | None = None) -> Pinned:
    """Pin the policy root, layers and host id of an enrolled agent, durably.

    `replace` is the fingerprint of the root that is pinned now, or `damaged` where it cannot be read any more. What was
    accepted under it is forgotten then, also where the root stays the same. The guard has to be started anew.
    `expected` is the fingerprint without which nothing is pinned: the folder is read once, as its owner may change it.

    Raises NotTheRootExpected, OtherTrustPinned, NotTheRootPinned, TrustDamaged, RootUnusable, FileUnreadable,
    Malformed, TrustNotStored.
    """
    offered = _from_agent(agent_folder)
    if expected not in (None, offered.fingerprint):
        raise NotTheRootExpected(offered=offered, expected=str(expected))
    pinned = _pinned(state, replace)
    if pinned is not None and replace is None:
        if pinned == offered:
            return Pinned(pinned, is_new=False)
        raise OtherTrustPinned(pinned=pinned, offered=offered)
    if replace is not None and replace != (DAMAGED if pinned is None else pinned.fingerprint):
        raise NotTheRootPinned(pinned="none" if pinned is None else pinned.fingerprint, named=replace)
    try:
        make_folder(state)
        write_over(trust_file(state), offered.encode())
        if replace is not None:
            # After a cut in between, what is left is of another root and says so, or is as it was before.
            _forget(accepted_folder(state), trusted_metadata(state))
    except OSError as exc:
        raise TrustNotStored(trust_file(state), exc.strerror or "it failed") from exc
    return Pinned(offered, is_new=True)


def _pinned(state: Path, replace: str | None) -> Trust | None:
    try:
        return load_trust(state)
    except NotPinned:
        return None
    except TrustDamaged:
        if replace == DAMAGED:
            return None
        raise


def _from_agent(folder: Path) -> Trust:
    file = folder / "identity" / "host.json"
    try:
        config = HostConfig.parse(read_small(file, _MAX_HOST_BYTES))
    except FileNotFoundError as exc:
        raise FileUnreadable(file, "it is not there; enrol the agent first") from exc
    _verify_root(config.policy_root)
    trust = Trust(config.host_id, config.layer, config.policy_root, config.parts)
    return Trust.parse(trust.encode())


def _verify_root(data: bytes) -> None:
    try:
        metadata = Metadata[Root].from_bytes(data)
        if metadata.signed.type != Root.type:
            raise RootUnusable(f"it is {metadata.signed.type} metadata")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as exc:
        raise RootUnusable(str(exc)) from exc


def _named(trust: Trust) -> str:
    layers = f"layer{'s' if trust.parts else ''} {', '.join(trust.layers)}"
    return f"policy root {trust.fingerprint}, {layers}, as {trust.host_id}"


def _forget(*folders: Path) -> None:
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
