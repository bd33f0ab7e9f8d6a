"""The public halves of sealing keys are rows; whoever can write rows must not have things sealed to a key of theirs."""

from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import KeyRow
from control_plane.keys.root import KeyNotAuthentic, RootKey
from control_plane.keys.store import KeyStore
from shared.policy.document import KeyPurpose
from shared.sealing.hpke import SealingPrivateKey
from tests.control_plane.begun import database_at
from tests.fakes.clock import FakeClock


@pytest.fixture
def database(tmp_path: Path) -> sessionmaker[Session]:
    return database_at(tmp_path / "centre.sqlite")


def opened(database: sessionmaker[Session]) -> KeyStore:
    return KeyStore(database, RootKey(bytes(32)), FakeClock())


@pytest.mark.parametrize("after_a_restart", [True, False])
def test_refuses_an_intruders_public_key_in_a_row(database: sessionmaker[Session], after_a_restart: bool) -> None:
    keys = opened(database)
    made = keys.create_sealing_key(KeyPurpose.AUDIT)
    assert keys.sealing_keys() == (made,)

    theirs = SealingPrivateKey(bytes(range(32))).public
    with database.begin() as session:
        session.execute(update(KeyRow).values(public=theirs.raw, key_id=str(theirs.key_id)))

    with pytest.raises(KeyNotAuthentic):
        (opened(database) if after_a_restart else keys).sealing_keys()
