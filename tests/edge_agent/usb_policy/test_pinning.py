"""Whose policy the guard follows is pinned once, and put in another's place by name only."""

import json
import os
import secrets
from pathlib import Path

import pytest

from edge_agent.config import HostConfig
from edge_agent.usb_policy.commands import trust
from edge_agent.usb_policy.pinning import DAMAGED, NotTheRootPinned, OtherTrustPinned, RootUnusable, TrustNotStored, pin
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.trust import FileUnreadable, NotPinned, Trust, TrustDamaged, load_trust, trust_file
from shared import canonical
from shared.canonical import Json
from shared.enrolment.exchange import Doors
from shared.errors import Malformed
from shared.fields import encode_base64
from shared.identity import HostId
from tests.edge_agent.usb_policy.bench import Guard
from tests.edge_agent.usb_policy.test_exchange import POLICY
from tests.fakes.signers import PolicySigners

HOST = HostId(bytes(range(16)))


def enrol(folder: Path, root: bytes, *parts: str) -> Path:
    """Leave what enrolment leaves of an agent, as far as the guard looks at it."""
    config = HostConfig(HOST, "CT 2", Doors("centre", 8442, 8883), secrets.token_bytes(32), root, "organisation", parts)
    (folder / "identity").mkdir(parents=True, exist_ok=True)
    (folder / "identity" / "host.json").write_bytes(config.encode())
    return folder


@pytest.fixture
def signers() -> PolicySigners:
    return PolicySigners()


@pytest.fixture
def agent(tmp_path: Path, signers: PolicySigners) -> Path:
    return enrol(tmp_path / "agent", signers.root)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "guard"


def test_pins_root_layer_and_host_of_an_enrolled_agent(state: Path, agent: Path, signers: PolicySigners) -> None:
    pinned = pin(state, agent)

    assert pinned.is_new
    assert pinned.trust == load_trust(state) == Trust(HOST, "organisation", signers.root)
    assert trust_file(state).stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700


def test_pins_the_further_layers_too_and_shows_them_for_comparison(
    state: Path, agent: Path, signers: PolicySigners, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol(agent, signers.root, "site-north", "modality-ct")
    trust(state, agent, None)
    told = capsys.readouterr().out

    assert load_trust(state) == Trust(HOST, "organisation", signers.root, ("site-north", "modality-ct"))
    for layer in ("organisation", "site-north", "modality-ct"):
        assert layer in told
    assert "Compare the layers with those that the administrator named" in told


@pytest.mark.parametrize("parts", [(), ("site-south",), ("site-north", "modality-ct")])
def test_other_further_layers_under_the_same_root_are_refused_until_a_person_names_it(
    state: Path, agent: Path, signers: PolicySigners, parts: tuple[str, ...]
) -> None:
    """Whoever has the agent's account could otherwise take a site's rules away from the guard."""
    enrol(agent, signers.root, "site-north")
    pinned = pin(state, agent).trust
    enrol(agent, signers.root, *parts)
    with pytest.raises(OtherTrustPinned, match="layers organisation, site-north, as"):
        pin(state, agent)
    refused = load_trust(state)
    pin(state, agent, replace=pinned.fingerprint)

    assert (refused, load_trust(state).parts) == (pinned, parts)


def test_a_pin_of_a_host_without_parts_is_what_it_always_was(signers: PolicySigners) -> None:
    former: dict[str, Json] = {"v": 1, "host": str(HOST), "layer": "organisation", "root": encode_base64(signers.root)}

    assert Trust.parse(canonical.encode(former)) == Trust(HOST, "organisation", signers.root)
    assert Trust(HOST, "organisation", signers.root).encode() == canonical.encode(former)


def test_pinning_the_same_again_changes_nothing(state: Path, agent: Path) -> None:
    first = pin(state, agent)
    GuardPolicyStore(state, first.trust).take(POLICY)
    again = pin(state, agent)

    assert (again.trust, again.is_new) == (first.trust, False)
    assert GuardPolicyStore(state, first.trust).in_force == POLICY


def test_another_root_is_refused_whoever_offers_it(state: Path, agent: Path) -> None:
    pinned = pin(state, agent).trust
    enrol(agent, PolicySigners().root)
    with pytest.raises(OtherTrustPinned) as refused:
        pin(state, agent)

    assert f"--replace {pinned.fingerprint}" in str(refused.value)
    assert load_trust(state) == pinned


@pytest.mark.parametrize("change", [{"layer": "site"}, {"host": str(HostId(bytes(16)))}])
def test_another_layer_or_host_under_the_same_root_is_refused_too(
    state: Path, agent: Path, change: dict[str, str]
) -> None:
    pinned = pin(state, agent).trust
    file = agent / "identity" / "host.json"
    file.write_bytes(canonical.encode({**json.loads(file.read_bytes()), **change}))
    with pytest.raises(OtherTrustPinned, match=next(iter(change.values()))):
        pin(state, agent)

    assert load_trust(state) == pinned


@pytest.mark.parametrize("named", ["0" * 64, "", DAMAGED])
def test_only_who_names_the_pinned_root_replaces_it(state: Path, agent: Path, named: str) -> None:
    pinned = pin(state, agent).trust
    enrol(agent, PolicySigners().root)
    with pytest.raises(NotTheRootPinned):
        pin(state, agent, replace=named)

    assert load_trust(state) == pinned


def test_a_root_that_is_replaced_takes_along_what_was_accepted_under_it(tmp_path: Path) -> None:
    guard = Guard(tmp_path / "guard")
    guard.store.take(POLICY)
    (guard.state / "policy").mkdir()
    other = PolicySigners()
    pin(guard.state, enrol(tmp_path / "agent", other.root), replace=guard.trust.fingerprint)

    trust = load_trust(guard.state)
    assert trust.root == other.root
    assert GuardPolicyStore(guard.state, trust).held == {}
    assert sorted(path.name for path in guard.state.iterdir()) == ["trust.json"]


def test_a_damaged_pin_follows_nobody_until_a_person_says_so(state: Path, agent: Path) -> None:
    pin(state, agent)
    trust_file(state).write_bytes(b"{}")
    for look in (lambda: load_trust(state), lambda: pin(state, agent)):
        with pytest.raises(TrustDamaged):
            look()
    pin(state, agent, replace=DAMAGED)

    assert load_trust(state).host_id == HOST


def test_what_is_no_root_is_not_pinned(state: Path, tmp_path: Path, signers: PolicySigners) -> None:
    for root in (b"no metadata", signers.targets, signers.root.replace(b'"sig":"30', b'"sig":"31')):
        with pytest.raises(RootUnusable):
            pin(state, enrol(tmp_path / "agent", root))

    with pytest.raises(NotPinned):
        load_trust(state)


@pytest.mark.parametrize("kind", ["missing", "link", "pipe", "folder", "large", "noise"])
def test_what_an_agent_puts_in_the_place_of_its_identity_is_refused(state: Path, agent: Path, kind: str) -> None:
    file = agent / "identity" / "host.json"
    content = file.read_bytes()
    file.unlink()
    if kind == "link":
        (agent / "elsewhere").write_bytes(content)
        file.symlink_to(agent / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind != "missing":
        file.write_bytes(b" " * 1_000_000 if kind == "large" else b"\xff")
    with pytest.raises((FileUnreadable, Malformed)):
        pin(state, agent)

    assert not trust_file(state).exists()


def test_a_folder_that_cannot_be_written_is_named(state: Path, agent: Path) -> None:
    (state / ".trust.json.new").mkdir(parents=True)

    with pytest.raises(TrustNotStored):
        pin(state, agent)


def test_a_person_is_told_what_to_compare(state: Path, agent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trust(state, agent, None)
    told = capsys.readouterr().out
    trust(state, agent, None)
    again = capsys.readouterr().out

    assert load_trust(state).fingerprint in told
    assert "leadglass-server policy root" in told
    assert again.endswith("this was pinned already; nothing was changed\n")
