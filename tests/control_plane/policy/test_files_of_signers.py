"""What travels between people who sign: drafts, public keys, credentials. One encoding each, with nothing hidden."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.policy.authoring import Credential, load_credential, store_credential
from control_plane.policy.drafts import Draft, sign
from control_plane.policy.exchange import RootChange
from control_plane.policy.person_key import KeyFileRefused, PersonKey, load_public, new_key, public_file, signer_for
from control_plane.policy.proposing import Wish, propose_policy, propose_root
from shared import canonical
from shared.errors import IntegrityFailure, Malformed, Refused
from tests.control_plane.policy.centre import POLICY, Centre
from tests.control_plane.policy.people import ada, another, publish

AS_IT_STANDS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Kind:
    data: bytes
    parse: Callable[[bytes], Any]


def kinds(centre: Centre) -> dict[str, Kind]:
    one = ada(centre)
    publish(centre, one)
    parts = centre.publisher.parts()
    assert one.signatory.credential is not None
    key = another(centre, "Grace").key
    root = propose_root(Wish(), parts, one.signatory, centre.clock)
    assert root.change is not None
    return {
        "draft of a root": Kind(root.encode(), Draft.parse),
        "draft of a policy": Kind(
            propose_policy(POLICY, parts, one.signatory.credential, centre.clock).encode(), Draft.parse
        ),
        "public key": Kind(key.encode(), PersonKey.parse),
        "credential": Kind(replace(centre.credential, tuf_key=key).encode(), Credential.parse),
        "root change": Kind(
            canonical.encode(root.change.json()), lambda data: RootChange.parse(canonical.parse(data, "root change"))
        ),
    }


NAMES = ("draft of a root", "draft of a policy", "public key", "credential", "root change")


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_is_refused_or_means_something_else(name: str, centre: Centre) -> None:
    """A parser that passed over a byte would let two people sign what they read differently."""
    kind = kinds(centre)[name]
    meant = kind.parse(kind.data)

    @AS_IT_STANDS
    @given(st.integers(0, len(kind.data) - 1), st.integers(0, 255))
    def changed(at: int, value: int) -> None:
        data = kind.data[:at] + bytes([value]) + kind.data[at + 1 :]
        try:
            read = kind.parse(data)
        except Malformed:
            return
        assert (read == meant) == (data == kind.data)

    changed()


@pytest.mark.parametrize("name", NAMES)
def test_a_member_more_or_less_is_refused(name: str, centre: Centre) -> None:
    kind = kinds(centre)[name]
    members = json.loads(kind.data)

    for less in members:
        with pytest.raises(Malformed):
            kind.parse(canonical.encode({key: value for key, value in members.items() if key != less}))
    with pytest.raises(Malformed):
        kind.parse(canonical.encode({**members, "zz": 1}))


@AS_IT_STANDS
@given(st.binary(max_size=400))
def test_noise_is_no_draft(noise: bytes) -> None:
    with pytest.raises(Malformed):
        Draft.parse(b'{"kind":"draft",' + noise)


def test_a_draft_with_an_edited_policy_is_signed_by_nobody(centre: Centre) -> None:
    one = ada(centre)
    assert one.signatory.credential is not None
    draft = propose_policy(POLICY, centre.publisher.parts(), one.signatory.credential, centre.clock)
    layer = draft.layers[0]
    edited = replace(draft, layers=(replace(layer, policy=layer.policy.replace(b"CT1", b"CT2")),))

    with pytest.raises((Refused, IntegrityFailure)):
        sign(Draft.parse(edited.encode()), one.signatory)
    assert sign(Draft.parse(draft.encode()), one.signatory).layers[0].policy == layer.policy


def test_a_new_key_is_for_its_owner_and_its_public_half_for_others(tmp_path: Path) -> None:
    made = new_key(tmp_path / "grace", "Grace")

    assert (tmp_path / "grace").stat().st_mode & 0o777 == 0o600
    assert load_public(public_file(tmp_path / "grace")) == made
    assert b"PRIVATE" not in public_file(tmp_path / "grace").read_bytes()
    with pytest.raises(KeyFileRefused, match=r"a key itself, which stays with its owner; grace\.pub is asked for"):
        load_public(tmp_path / "grace")


def test_a_credential_signs_with_the_key_beside_it(centre: Centre, tmp_path: Path) -> None:
    key = new_key(tmp_path / "grace", "Grace")
    store_credential(tmp_path / "credential.json", replace(centre.credential, person="Grace", tuf_key=key))
    loaded = load_credential(tmp_path / "credential.json")

    signature = loaded.signer.sign(b"payload")
    key.key.verify_signature(signature, b"payload")
    assert b"PRIVATE" not in (tmp_path / "credential.json").read_bytes()


def test_a_key_file_that_holds_another_key_signs_nothing(tmp_path: Path) -> None:
    key = new_key(tmp_path / "grace", "Grace")
    new_key(tmp_path / "other", "Other")
    (tmp_path / "grace").write_bytes((tmp_path / "other").read_bytes())

    with pytest.raises(KeyFileRefused, match="another key"):
        signer_for(key, tmp_path).sign(b"payload")


@pytest.mark.parametrize(
    "kept", ["file:../../etc/key", "file:/etc/key", "hsm:2", "hsm:x?label=a", "https://key", "file:"]
)
def test_refuses_a_place_that_leads_elsewhere(kept: str, centre: Centre) -> None:
    key = another(centre, "Grace").key

    with pytest.raises(Malformed, match="kept"):
        PersonKey.parse(replace(key, kept=kept).encode())
