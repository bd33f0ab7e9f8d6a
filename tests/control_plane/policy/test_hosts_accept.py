"""What the publisher publishes, judged by python-tuf's client and by nothing of ours."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    UnsignedMetadataError,
)

from control_plane.db.engine import engine_of, open_database, sqlite_url
from control_plane.keys.store import POLICY_ONLINE
from control_plane.policy.roles import ONLINE_HOLDS_FOR, build_snapshot, build_timestamp, sign_role, signer_of
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, Modality, PolicyDocument
from tests.control_plane.policy.centre import POLICY, Centre
from tests.control_plane.policy.client import Host

# Which of the two depends on whether the wrong file is the longer one; signatures vary by a byte or two.
NOT_AS_DESCRIBED = (LengthOrHashMismatchError, DownloadLengthMismatchError)
TWO_MODALITIES = replace(POLICY, modalities=(*POLICY.modalities, Modality("MR1", "MR, room 2.01")))


def published(centre: Centre) -> tuple[HeadBundle, LayerBundle]:
    head, layer = centre.publisher.head(), centre.publisher.layer(ORGANISATION)
    assert head is not None
    assert layer is not None
    return HeadBundle.parse(head.encode()), LayerBundle.parse(layer.encode())


def test_a_host_accepts_the_first_publication_and_the_second(centre: Centre, host: Host) -> None:
    centre.publish()
    first = PolicyDocument.parse(host.accept(*published(centre)))
    centre.publish(TWO_MODALITIES)
    second = PolicyDocument.parse(host.accept(*published(centre)))

    assert (first.version, second.version) == (1, 2)
    assert (first.allows("MR1"), second.allows("MR1")) == (False, True)


def test_a_host_that_never_saw_the_first_accepts_the_second(centre: Centre, host: Host) -> None:
    centre.publish()
    centre.publish(TWO_MODALITIES)

    assert PolicyDocument.parse(host.accept(*published(centre))).version == 2


def test_a_host_refuses_a_rolled_back_head(centre: Centre, host: Host) -> None:
    centre.publish()
    old = published(centre)
    centre.publish(TWO_MODALITIES)
    host.accept(*published(centre))

    with pytest.raises(BadVersionNumberError):
        host.accept(*old)


def test_a_host_refuses_a_frozen_head(centre: Centre, host: Host) -> None:
    centre.clock.pass_time(-ONLINE_HOLDS_FOR - timedelta(hours=1))
    centre.publish()

    with pytest.raises(ExpiredMetadataError):
        host.accept(*published(centre))


def test_a_refresh_thaws_a_frozen_head(centre: Centre, host: Host) -> None:
    centre.clock.pass_time(-ONLINE_HOLDS_FOR - timedelta(hours=1))
    centre.publish()
    centre.clock.pass_time(ONLINE_HOLDS_FOR + timedelta(hours=1))

    centre.publisher.refresh()

    assert PolicyDocument.parse(host.accept(*published(centre))).version == 1


def test_a_host_follows_a_centre_restored_from_a_backup_that_leaps_over_what_the_lost_one_signed(
    centre: Centre, host: Host, tmp_path: Path
) -> None:
    centre.publish()
    backed_up = centre.clock.now()
    restored = copied(centre, tmp_path / "restored.sqlite")
    centre.clock.pass_time(timedelta(minutes=1))
    for _ in range(2):
        centre.publisher.refresh()
    host.accept(*published(centre))

    restored.publisher.refresh()
    with pytest.raises(BadVersionNumberError):
        host.accept(*published(restored))
    restored.publisher.leap(backed_up)

    assert PolicyDocument.parse(host.accept(*published(restored))).version == 1


def copied(centre: Centre, path: Path) -> Centre:
    """Return a centre on a copy of the database as it stands."""
    held = str(engine_of(centre.database).url.database)
    with closing(sqlite3.connect(held)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    return replace(centre, database=open_database(sqlite_url(path))).restarted()


def test_a_host_refuses_an_old_layer_under_a_new_head(centre: Centre, host: Host) -> None:
    centre.publish()
    _, old_layer = published(centre)
    centre.publish(TWO_MODALITIES)
    new_head, _ = published(centre)

    with pytest.raises(NOT_AS_DESCRIBED):
        host.accept(new_head, old_layer)


def test_a_host_refuses_a_new_layer_under_an_old_head(centre: Centre, host: Host) -> None:
    centre.publish()
    old_head, _ = published(centre)
    centre.publish(TWO_MODALITIES)
    _, new_layer = published(centre)

    with pytest.raises(NOT_AS_DESCRIBED):
        host.accept(old_head, new_layer)


def test_a_host_refuses_a_timestamp_over_an_older_snapshot(centre: Centre, host: Host) -> None:
    centre.publish()
    old_head, old_layer = published(centre)
    centre.publish(TWO_MODALITIES)
    new_head, _ = published(centre)

    with pytest.raises(NOT_AS_DESCRIBED):
        host.accept(replace(old_head, timestamp=new_head.timestamp), old_layer)


def test_a_host_refuses_a_layer_signed_by_another_key_even_when_the_online_key_vouches_for_it(
    centre: Centre, host: Host
) -> None:
    """The worst case: whoever runs the centre and holds its online key writes a policy of their own."""
    centre.publish()
    head, _ = published(centre)
    document = replace(centre.document(), version=2)
    forged = centre.signed(document, [ec.generate_private_key(ec.SECP256R1())])

    with pytest.raises(UnsignedMetadataError):
        host.accept(vouched_for(centre, head, forged.bundle), forged.bundle)


def test_a_host_accepts_what_the_forger_lacked_the_key_for(centre: Centre, host: Host) -> None:
    """The control of the test above: the same bundles, signed by the right key, pass."""
    centre.publish()
    head, _ = published(centre)
    genuine = centre.signed(replace(centre.document(), version=2))

    assert host.accept(vouched_for(centre, head, genuine.bundle), genuine.bundle) == genuine.policy


def test_a_host_refuses_an_edited_policy(centre: Centre, host: Host) -> None:
    centre.publish()
    head, layer = published(centre)
    edited = layer.policy.replace(b"CT1", b"CT2")
    assert edited != layer.policy

    with pytest.raises(LengthOrHashMismatchError):
        host.accept(head, replace(layer, policy=edited))


def test_a_host_stops_reading_endless_data(centre: Centre, host: Host) -> None:
    centre.publish()
    head, layer = published(centre)
    endless = b" " * 10_000_000

    for head_, layer_ in (
        (replace(head, timestamp=endless), layer),
        (replace(head, snapshot=endless), layer),
        (replace(head, targets=endless), layer),
        (head, replace(layer, metadata=endless)),
        (head, replace(layer, policy=endless)),
    ):
        with pytest.raises(DownloadLengthMismatchError):
            host.accept(head_, layer_)


def vouched_for(centre: Centre, head: HeadBundle, layer: LayerBundle) -> HeadBundle:
    """Return a head that the online key signs over `layer`, whatever that is."""

    online = [signer_of(centre.keys.p256(POLICY_ONLINE))]
    snapshot = sign_role(build_snapshot(head.targets, [layer], version=2, now=centre.clock.now()), online)
    timestamp = sign_role(build_timestamp(snapshot, version=2, now=centre.clock.now()), online)
    return replace(head, snapshot=snapshot, timestamp=timestamp)
