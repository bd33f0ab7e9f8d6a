"""Who may have a drive wiped is read from what the guard verified, and from nothing that the agent's account says."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge_agent.config import AgentFolder, load_identity
from edge_agent.sanitize.here import NoPolicy, OtherHost, look
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.trust import NotPinned, Trust, trust_file
from edge_agent.usb_policy.verify_child import judge
from shared.clock import SystemClock
from shared.identity import HostId
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from tests.edge_agent.usb_policy.bench import KEYS, RECEIPTS, Guard
from tests.fakes.signers import document

POLICY = WipePolicy(LeastClass.PURGE, ReadBack.WHOLE, 2, 24)


def guard_of(agent: AgentFolder, tmp_path: Path) -> Guard:
    """Return a guard that was told to guard the host that enrolled there."""
    guard = Guard(tmp_path / "guard")
    guard.trust = Trust(load_identity(agent).config.host_id, guard.trust.layer, guard.trust.root)
    trust_file(guard.state).write_bytes(guard.trust.encode())
    return guard


def accepted(guard: Guard, wipe: WipePolicy | None = POLICY) -> None:
    policy = replace(document(1, KEYS, RECEIPTS.public), wipe=wipe)
    head, bundle = guard.signers.publish(policy.encode(), 1)
    offer = guard.publish(1)
    offered = replace(offer, head=head.encode(), layers=(bundle.encode(),))
    GuardPolicyStore(guard.state, guard.trust).take(judge(guard.state, offered.encode()))


def test_policy_and_signatories_come_from_what_the_guard_accepted(enrolled: AgentFolder, tmp_path: Path) -> None:
    guard = guard_of(enrolled, tmp_path)
    accepted(guard)

    host = look(guard.state, enrolled.path, SystemClock().now())

    identity = load_identity(enrolled)
    assert host.enrolled.policy == POLICY
    assert host.enrolled.host_id == identity.config.host_id
    assert host.enrolled.evidence_key == identity.signer.public.key_id
    assert host.signer.public == identity.signer.public
    (key,) = host.enrolled.signatories.keys
    assert host.enrolled.signatories.threshold == 1
    pem = key.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert guard.signers.person.public_key.keyval["public"].strip() == pem.strip()


def test_a_policy_that_says_nothing_of_wipes_allows_none(enrolled: AgentFolder, tmp_path: Path) -> None:
    guard = guard_of(enrolled, tmp_path)
    accepted(guard, wipe=None)

    assert look(guard.state, enrolled.path, SystemClock().now()).enrolled.policy is None


def test_without_a_pin_a_policy_or_this_host_s_own_nobody_may(enrolled: AgentFolder, tmp_path: Path) -> None:
    now = SystemClock().now()
    with pytest.raises(NotPinned):
        look(tmp_path / "nowhere", enrolled.path, now)
    guard = guard_of(enrolled, tmp_path)
    with pytest.raises(NoPolicy, match="have guard and agent run"):
        look(guard.state, enrolled.path, now)
    other = Trust(HostId(bytes(16)), guard.trust.layer, guard.trust.root)
    accepted(guard)
    trust_file(guard.state).write_bytes(other.encode())
    with pytest.raises(OtherHost):
        look(guard.state, enrolled.path, now)
