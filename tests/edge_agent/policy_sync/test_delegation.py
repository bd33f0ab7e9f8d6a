"""Who may command a host is read from the policy metadata that it verified, and from nothing else."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Targets

from control_plane.policy.roles import (
    RoleKeys,
    build_layer,
    build_root,
    build_snapshot,
    build_targets,
    build_timestamp,
    key_of,
    sign_role,
    signer_of,
)
from edge_agent.policy_sync.delegation import Delegation, DelegationExpired, NotDelegated, read_delegation
from edge_agent.policy_sync.verification import MetadataInvalid, PolicyVerification, TrustCacheUnavailable
from shared.clock import SystemClock
from shared.identity import HostId
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION
from shared.signing import EvidencePublicKey


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


ADA, BEA, ONLINE = new_key(), new_key(), new_key()
PEOPLE = [signer_of(ADA), signer_of(BEA)]
NOW = SystemClock().now()
HOST = HostId(bytes(16))


def evidence(*keys: ec.EllipticCurvePrivateKey) -> set[str]:
    return {str(EvidencePublicKey(key.public_key()).key_id) for key in keys}


HELD = RoleKeys(tuple(signer.public_key for signer in PEOPLE), 2)


def trusted(folder: Path, targets: Targets | None = None, held: RoleKeys = HELD) -> PolicyVerification:
    """Return a host's verification once it has taken a policy that two people have to sign."""
    online = RoleKeys((key_of(ONLINE.public_key()),))
    root = sign_role(build_root(root=held, targets=held, online=online, version=1, now=NOW), PEOPLE)
    signed = sign_role(targets or build_targets({ORGANISATION: held}, version=1, now=NOW), PEOPLE)
    layer = LayerBundle(ORGANISATION, sign_role(build_layer(ORGANISATION, b"{}", version=1, now=NOW), PEOPLE), b"{}")
    snapshot = sign_role(build_snapshot(signed, [layer], version=1, now=NOW), [signer_of(ONLINE)])
    timestamp = sign_role(build_timestamp(snapshot, version=1, now=NOW), [signer_of(ONLINE)])
    verification = PolicyVerification(layers=(ORGANISATION,), host=HOST, folder=folder, root=root)
    verification.verify(HeadBundle((root,), timestamp, snapshot, signed), {ORGANISATION: layer}, {})
    return verification


def read(folder: Path, held: RoleKeys = HELD) -> Delegation:
    return read_delegation(folder, ORGANISATION, trusted(folder, held=held))


def test_keys_threshold_and_times_are_those_that_people_signed(tmp_path: Path) -> None:
    delegation = read(tmp_path)

    assert {str(key.key_id) for key in delegation.signatories.keys} == evidence(ADA, BEA)
    assert delegation.signatories.threshold == 2
    assert delegation.signed_at == NOW
    # The earliest of all roles: the centre's own hold for two weeks.
    assert NOW + timedelta(days=13) < delegation.expires <= NOW + timedelta(days=14)


def test_names_are_those_that_the_root_has_and_not_those_of_targets(tmp_path: Path) -> None:
    named = key_of(ADA.public_key(), "Ada")
    otherwise = RoleKeys((key_of(ADA.public_key(), "Bea"), PEOPLE[1].public_key), 2)
    targets = build_targets({ORGANISATION: otherwise}, version=1, now=NOW)
    delegation = read_delegation(
        tmp_path, ORGANISATION, trusted(tmp_path, targets, RoleKeys((named, PEOPLE[1].public_key), 2))
    )

    assert delegation.signatories.names == {EvidencePublicKey(ADA.public_key()).key_id: "Ada"}


@pytest.mark.parametrize("name", ["", "a\nb", " Ada", "A" * 65])
def test_a_name_that_cannot_be_shown_is_none(tmp_path: Path, name: str) -> None:
    keys = key_of(ADA.public_key(), name), PEOPLE[1].public_key

    assert read_delegation(tmp_path, ORGANISATION, trusted(tmp_path, None, RoleKeys(keys, 2))).signatories.names == {}


def test_one_key_under_two_names_is_one_person(tmp_path: Path) -> None:
    key = signer_of(ADA).public_key
    again = SSlibKey("0f" * 32, key.keytype, key.scheme, key.keyval)
    signatories = read(tmp_path, RoleKeys((key, again, PEOPLE[1].public_key), 2)).signatories

    assert {str(one.key_id) for one in signatories.keys} == evidence(ADA, BEA)
    assert len(signatories.keys) == 2


def test_a_layer_that_nobody_signs_for_is_commanded_by_nobody(tmp_path: Path) -> None:
    with pytest.raises(NotDelegated):
        read_delegation(tmp_path, "elsewhere", trusted(tmp_path))


def test_metadata_that_has_expired_is_no_delegation(tmp_path: Path) -> None:
    delegation = read(tmp_path)

    delegation.verify_in_date(delegation.expires - timedelta(seconds=1))
    with pytest.raises(DelegationExpired):
        delegation.verify_in_date(delegation.expires)


def test_a_host_without_a_policy_knows_nobody(tmp_path: Path) -> None:
    verification = PolicyVerification(layers=(ORGANISATION,), host=HOST, folder=tmp_path / "none", root=b"{}")

    with pytest.raises(TrustCacheUnavailable):
        read_delegation(tmp_path / "none", ORGANISATION, verification)


def rewritten(folder: Path, signer: CryptoSigner) -> None:
    """Have the folder's targets name `signer` alone, signed by `signer`."""
    held = RoleKeys((signer.public_key,))
    metadata = Metadata(build_targets({ORGANISATION: held}, version=1, now=NOW))
    metadata.sign(signer)
    metadata.to_file(str(folder / "targets.json"))


def test_targets_that_were_changed_in_the_folder_are_not_believed(tmp_path: Path) -> None:
    verification = trusted(tmp_path)
    rewritten(tmp_path, signer_of(new_key()))

    with pytest.raises(TrustCacheUnavailable, match="targets"):
        read_delegation(tmp_path, ORGANISATION, verification)


THREE = RoleKeys((*HELD.keys, signer_of(new_key()).public_key), 2)


@pytest.mark.parametrize(
    "layer",
    [
        RoleKeys(THREE.keys, 1),
        RoleKeys(HELD.keys[:1], 1),
        RoleKeys((*THREE.keys, signer_of(new_key()).public_key), 2),
        RoleKeys((*HELD.keys, SSlibKey.from_dict(THREE.keys[2].keyid, signer_of(new_key()).public_key.to_dict())), 2),
    ],
    ids=["a lower threshold", "one of them alone", "somebody more", "another key under the same id"],
)
def test_refuses_a_layer_that_others_sign_than_targets_and_none_of_them_commands(
    tmp_path: Path, layer: RoleKeys
) -> None:
    targets = build_targets({ORGANISATION: layer}, version=1, now=NOW)

    with pytest.raises(MetadataInvalid, match="signed by others"):
        trusted(tmp_path, targets, THREE)
    # TUF has written it into the folder by then, so whoever reads the folder has to look too.
    with pytest.raises(MetadataInvalid, match="signed by others"):
        read_delegation(
            tmp_path,
            ORGANISATION,
            PolicyVerification(layers=(ORGANISATION,), host=HOST, folder=tmp_path, root=b"unused"),
        )
