import json
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tuf.api.metadata import Root, Targets

from control_plane.keys.store import POLICY_ONLINE
from control_plane.policy.authoring import (
    Credential,
    CredentialExists,
    CredentialExposed,
    CredentialMissing,
    ForeignRoot,
    GradeWithoutKey,
    NotASigner,
    UnpinnedKey,
    VersionMisstated,
    author,
    load_credential,
    make_root_and_targets,
    root_fingerprints,
    store_credential,
)
from control_plane.policy.roles import (
    PEOPLE_HOLD_FOR,
    RoleKeys,
    build_layer,
    build_targets,
    key_of,
    parse_role,
    sign_role,
    signer_of,
)
from control_plane.policy.verify import LayerNotDelegated, PolicyExpired, SignaturesMissing, SignersDiffer
from shared.errors import IntegrityFailure, Malformed
from shared.policy.bundle import LayerBundle
from shared.policy.document import ORGANISATION, KeyPurpose, PolicyDocument, SealingKey
from shared.policy.grading import Grading
from shared.sealing.hpke import SealingPrivateKey
from shared.signing import EvidencePublicKey
from tests.control_plane.policy.centre import POLICY, Centre, credential_for
from tests.control_plane.policy.file.full import MEANT
from tests.control_plane.policy.people import ada, added, another, change_root

FOREIGN = SealingPrivateKey(bytes(32)).public


def new_p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


# ---- the credential


def test_a_credential_prints_and_parses_unchanged(centre: Centre) -> None:
    data = centre.credential.encode()

    parsed = Credential.parse(data)

    assert parsed.encode() == data
    assert parsed.signer.public_key == centre.credential.signer.public_key


def test_a_credential_is_kept_for_its_owner_only(centre: Centre, tmp_path: Path) -> None:
    path = tmp_path / "credential.json"

    store_credential(path, centre.credential)

    assert path.stat().st_mode & 0o777 == 0o600
    assert load_credential(path).encode() == centre.credential.encode()


def test_a_credential_is_never_overwritten(centre: Centre, tmp_path: Path) -> None:
    path = tmp_path / "credential.json"
    path.write_bytes(b"mine")

    with pytest.raises(CredentialExists):
        store_credential(path, centre.credential)
    assert path.read_bytes() == b"mine"


def test_refuses_a_credential_that_others_can_read(centre: Centre, tmp_path: Path) -> None:
    path = tmp_path / "credential.json"
    store_credential(path, centre.credential)
    path.chmod(0o640)

    with pytest.raises(CredentialExposed, match="chmod 600"):
        load_credential(path)


def test_a_missing_credential_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialMissing, match=r"nobody\.json cannot be read: No such file"):
        load_credential(tmp_path / "nobody.json")


@pytest.mark.parametrize(
    "field, value",
    [
        ("v", 2),
        ("role", "visitor"),
        ("url", "file:///etc/passwd"),
        ("token", "two words"),
        ("pinned_keys", ["x"]),
        ("receipt_key_id", "x"),
        ("tuf", {"keyid": "0" * 64, "private_pem": "no key"}),
        ("extra", "field"),
    ],
)
def test_refuses_a_credential_and_names_the_field(field: str, value: object, centre: Centre) -> None:
    changed = json.loads(centre.credential.encode()) | {field: value}

    with pytest.raises(Malformed) as refused:
        Credential.parse(canonical(changed))
    assert centre.credential.token not in str(refused.value)


def test_refuses_a_credential_whose_key_is_not_the_one_it_names(centre: Centre) -> None:
    mine, other = (json.loads(c.encode()) for c in (centre.credential, replace(centre.credential, tuf_key=new_p256())))
    mine["tuf"]["private_pem"] = other["tuf"]["private_pem"]

    with pytest.raises(Malformed, match="keyid"):
        Credential.parse(canonical(mine))


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


# ---- signing


def test_signs_what_was_written_with_the_centres_keys_and_the_next_version(centre: Centre) -> None:
    centre.publish()
    parts = centre.publisher.parts()

    document = centre.document()

    assert (document.version, document.layer, document.modalities) == (2, ORGANISATION, POLICY.modalities)
    assert (document.keys, document.receipt_key.spki) == (parts.keys, parts.receipt_key.spki)


@pytest.mark.parametrize("purpose", list(KeyPurpose))
def test_refuses_a_sealing_key_that_the_centre_slips_in(purpose: KeyPurpose, centre: Centre) -> None:
    parts = centre.publisher.parts()
    swapped = tuple(replace(key, key=FOREIGN) if key.purpose is purpose else key for key in parts.keys)

    with pytest.raises(UnpinnedKey) as refused:
        centre.sign(parts=replace(parts, keys=swapped))
    assert isinstance(refused.value, IntegrityFailure)
    assert refused.value.key_id == FOREIGN.key_id
    assert str(FOREIGN.key_id) in str(refused.value)


def test_refuses_a_sealing_key_that_the_centre_adds(centre: Centre) -> None:
    parts = centre.publisher.parts()
    newer = SealingKey(KeyPurpose.DATA, "restricted", 2, FOREIGN)

    with pytest.raises(UnpinnedKey):
        centre.sign(parts=replace(parts, keys=(*parts.keys, newer)))


def test_refuses_another_receipt_key(centre: Centre) -> None:
    parts = replace(centre.publisher.parts(), receipt_key=EvidencePublicKey(new_p256().public_key()))

    with pytest.raises(UnpinnedKey, match="receipt key"):
        centre.sign(parts=parts)


def test_control_a_credential_that_pins_the_foreign_key_would_sign_it(centre: Centre) -> None:
    parts = centre.publisher.parts()
    keys = tuple(replace(key, key=FOREIGN) if key.purpose is KeyPurpose.DATA else key for key in parts.keys)
    fooled = replace(centre.credential, pinned_keys=(*centre.credential.pinned_keys, FOREIGN.key_id))

    assert author(POLICY, replace(parts, keys=keys), fooled, centre.clock).layer == ORGANISATION


def test_refuses_a_root_of_other_people(centre: Centre) -> None:
    online = centre.keys.p256(POLICY_ONLINE).public_key()
    root, targets = make_root_and_targets([signer_of(new_p256())], online, centre.clock)

    with pytest.raises(ForeignRoot):
        centre.sign(parts=replace(centre.publisher.parts(), roots=(root,), targets=targets))


@pytest.mark.parametrize("stated", [1, 2, 4, 2**53 - 1])
def test_refuses_a_next_version_that_does_not_follow(stated: int, centre: Centre) -> None:
    centre.publish()
    centre.publish()

    with pytest.raises(VersionMisstated) as refused:
        centre.sign(parts=replace(centre.publisher.parts(), next_version=stated))
    assert (refused.value.stated, refused.value.published) == (stated, 2)


def test_refuses_to_follow_a_published_version_that_people_never_signed(centre: Centre) -> None:
    """A centre that invents a high version would have the next, genuine one be the last there can be."""
    policy = replace(centre.document(), version=2**53 - 2).encode()
    layer = build_layer(ORGANISATION, policy, version=2**53 - 2, now=centre.clock.now())
    invented = LayerBundle(ORGANISATION, sign_role(layer, [signer_of(new_p256())]), policy)
    parts = replace(centre.publisher.parts(), layers=(invented,), next_version=2**53 - 1)

    with pytest.raises(SignaturesMissing):
        centre.sign(parts=parts)


def test_refuses_to_sign_for_a_layer_that_is_not_ours_or_not_there(centre: Centre) -> None:
    stranger = RoleKeys((key_of(new_p256().public_key()),))
    theirs = build_targets({ORGANISATION: stranger}, version=2, now=centre.clock.now())
    parts = replace(centre.publisher.parts(), targets=sign_role(theirs, [centre.credential.signer]))

    with pytest.raises(SignersDiffer):
        centre.sign(parts=parts)
    with pytest.raises(LayerNotDelegated):
        centre.sign(replace(POLICY, layer="site"))
    one, two = ada(centre), another(centre, "Grace")
    change_root(centre, replace(added(two, remove=(one.signatory.key_id,)), of_root=False), one, two)
    with pytest.raises(NotASigner):
        centre.sign()


def test_refuses_a_grade_for_which_there_is_no_key_and_names_those_there_are(centre: Centre) -> None:
    with pytest.raises(GradeWithoutKey, match="secret; use one that the centre has keys for: restricted"):
        centre.sign(replace(POLICY, grading=Grading("secret")))


def test_refuses_a_grade_of_a_rule_for_which_there_is_no_key(centre: Centre) -> None:
    with pytest.raises(GradeWithoutKey, match="general"):
        centre.sign(replace(POLICY, grading=Grading("restricted", ("general", "restricted"))))


def test_signs_everything_that_a_policy_file_can_say(centre: Centre) -> None:
    for grade in ("general", "secret"):
        centre.keys.create_sealing_key(KeyPurpose.DATA, grade)
    trusted = replace(credential_for(centre.keys), tuf_key=centre.credential.tuf_key)

    publication = author(MEANT, centre.publisher.parts(), trusted, centre.clock)

    document = PolicyDocument.parse(publication.policy)
    assert {field.name: getattr(document, field.name) for field in fields(MEANT)} == {
        field.name: getattr(MEANT, field.name) for field in fields(MEANT)
    }


def test_signs_nothing_under_an_expired_root(centre: Centre) -> None:
    centre.clock.pass_time(PEOPLE_HOLD_FOR)

    with pytest.raises(PolicyExpired):
        centre.sign()


# ---- the roles as TUF has them


def test_the_first_root_and_targets_say_what_the_format_page_says(centre: Centre) -> None:
    parts = centre.publisher.parts()
    root, targets = parse_role(Root, parts.roots[0]).signed, parse_role(Targets, parts.targets).signed
    mine = centre.credential.signer.public_key.keyid
    online = key_of(centre.keys.p256(POLICY_ONLINE).public_key()).keyid

    assert root.consistent_snapshot is True
    assert {name: (role.keyids, role.threshold) for name, role in root.roles.items()} == {
        "root": ([mine], 1),
        "targets": ([mine], 1),
        "snapshot": ([online], 1),
        "timestamp": ([online], 1),
    }
    assert {key.scheme for key in root.keys.values()} == {"ecdsa-sha2-nistp256"}
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    delegated = targets.delegations.roles[ORGANISATION]
    assert (delegated.keyids, delegated.threshold, delegated.paths) == ([mine], 1, ["organisation/*"])
    assert delegated.terminating
    assert targets.targets == {}


def test_the_private_key_of_a_person_is_in_no_row_of_the_centre(centre: Centre, tmp_path: Path) -> None:
    centre.publish()
    key = centre.credential.tuf_key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    secret = key.private_numbers().private_value

    for file in tmp_path.glob("centre.sqlite*"):
        data = file.read_bytes()
        assert secret.to_bytes(32) not in data
        assert signer_of(key).private_bytes not in data


def test_a_persons_tool_knows_the_root_that_a_guard_pins(centre: Centre) -> None:
    root = centre.publisher.newest_root()

    assert root_fingerprints(centre.publisher.parts(), centre.credential) == {1: sha256(root).hexdigest()}


def test_no_fingerprint_is_told_of_a_root_that_somebody_else_made(centre: Centre) -> None:
    with pytest.raises(ForeignRoot):
        root_fingerprints(centre.publisher.parts(), credential_for(centre.keys))
