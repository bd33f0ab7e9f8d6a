"""A witness and a client of the C2SP protocol that are not ours (aics-witness, aics-tlog): ours asks it, it asks ours.

They are fetched beside the environment (requirements/foreign.in): they declare a newer Python than the oldest that we
run with, and run in it as they are. What stands in foreign/ is ours and only joins their parts.
"""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete

from control_plane.db.models import LogWitness
from control_plane.settings import Witnessing
from control_plane.witnesses.asking import post_to
from edge_agent.https import verified_context
from provisioning.packaging.build import ROOT
from shared.audit.events import Event
from shared.audit.tlog.checkpoint import claimed_head
from shared.audit.tlog.keys import NoteKey
from shared.audit.tlog.note import Note
from tests.control_plane.checkpoints.ward import Ward
from tests.control_plane.witnesses.logs import OtherLog
from tests.control_plane.witnesses.sites import Asking, Site, copied
from tests.fakes.ports import free_port
from tests.lab import cache
from tests.vectors.given import FOLDER

SEED = bytes(range(32))
SCRIPTS = Path(__file__).parent / "foreign"
PINNED = ROOT / "requirements" / "foreign.txt"
VECTORS = sorted((FOLDER / "log-checkpoint").glob("*.json"))
# tlog-cosignature: a time "MUST NOT exceed 2^63 - 1", which aics-tlog 0.2.1 does not look at.
STRICTER = {"answer-bad-time-too-large.json"}


@lru_cache(1)
def environment() -> dict[str, str]:
    site = cache.kept("foreign-witness", cache.key(PINNED.read_bytes()), _fetch)
    return os.environ | {"PYTHONPATH": str(site)}


def _fetch(site: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "install", "--target", str(site), "--python-version", "3.12",
         "--only-binary=:all:", "--no-deps", "--require-hashes", "--requirement", str(PINNED)],
        check=True, timeout=300,
    )  # fmt: skip


def foreign(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], env=environment(), stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    return done.stdout


# ---- the vectors


def test_a_witness_and_a_client_that_are_not_ours_answer_the_vectors_byte_for_byte(tmp_path: Path) -> None:
    answers = json.loads(foreign(str(SCRIPTS / "judge.py"), str(tmp_path), *map(str, VECTORS)))

    expected = {path.name: json.loads(path.read_text())["expect"] for path in VECTORS}
    differing = {name for name, answer in answers.items() if answer != _part_of(expected[name], answer)}
    assert answers.keys() == expected.keys()
    assert differing == STRICTER


def _part_of(expected: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    return {member: expected.get(member) for member in answer}


# ---- ours asks


class ForeignWitness:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._config, self._port = str(folder / "witness.json"), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.key = NoteKey.parse(self.run("init", "--name", "witness.example/w1").strip())

    def run(self, command: str, *arguments: str) -> str:
        return foreign("-m", "aics_witness", command, "--config", self._config, *arguments)

    def serve(self, log: NoteKey) -> subprocess.Popen[str]:
        self.run("add-log", "--origin", log.name, "--vkey", log.vkey)
        command = [sys.executable, "-m", "aics_witness", "serve", "--config", self._config]
        process = subprocess.Popen(
            [*command, "--listen", f"127.0.0.1:{self._port}"], env=environment(), stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert any("listening on" in line for line in process.stderr)
        return process

    @property
    def state(self) -> dict[str, Any]:
        (log,) = json.loads(self.run("status", "--json"))["logs"]
        return dict(log)

    def shown(self, origin: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("GET", f"/{sha256(origin.encode()).hexdigest()}/checkpoint")
        answer = connection.getresponse().read().decode()
        connection.close()
        return answer


@pytest.fixture
def witness(tmp_path: Path) -> ForeignWitness:
    return ForeignWitness(tmp_path / "witness")


@pytest.fixture
def asking(tmp_path: Path, witness: ForeignWitness) -> Iterator[Asking]:
    made = Asking(tmp_path / "asking", witness.url, witness.key, post_to())
    made.grow(3)
    with witness.serve(made.key) as process:
        yield made
        process.terminate()


def asked_again(asking: Asking, grown: int) -> None:
    asking.grow(grown)
    asking.clock.advance(timedelta(seconds=1))
    asking.asking.ask_all()


def test_a_witness_that_is_not_ours_cosigns_our_log_as_it_grows(asking: Asking, witness: ForeignWitness) -> None:
    asked_again(asking, 0)
    asked_again(asking, 4)

    head, cosigned = claimed_head(asking.showing.cosigned()), Note.parse(asking.showing.cosigned())
    assert asking.witness["size"] == head.size >= 7
    assert [key for key, _ in cosigned.verify([asking.key, witness.key])] == [asking.key, witness.key]
    assert (witness.state["size"], witness.state["evidence"]) == (head.size, 0)
    assert claimed_head(witness.shown(asking.key.name)) == head
    assert asking.showing.gaps() == []


def test_who_forgot_what_a_witness_that_is_not_ours_cosigned_learns_it_from_its_409(
    asking: Asking, witness: ForeignWitness
) -> None:
    asked_again(asking, 0)
    with asking.bench.database.begin() as session:
        session.execute(delete(LogWitness))
    asked_again(asking, 4)

    assert asking.witness["size"] == witness.state["size"] == claimed_head(asking.showing.cosigned()).size
    assert asking.witness["why"] == ""


def test_a_witness_that_is_not_ours_finds_a_database_that_was_put_back(
    asking: Asking, witness: ForeignWitness, tmp_path: Path
) -> None:
    """The control is the first of these tests: without the copy it cosigns all along."""
    file, yesterday = asking.bench.database.kw["bind"].url.database, tmp_path / "yesterday.sqlite"
    copied(file, yesterday)
    asked_again(asking, 4)
    seen = witness.state["size"]
    copied(yesterday, file)
    asked_again(asking, 1)
    shorter = str(asking.witness["why"])
    asked_again(asking, 9)

    assert f"it says that it cosigned {seen} entries" in shorter
    assert "it says that this log does not go on from what it cosigned" in str(asking.showing.gaps())
    assert asking.bench.events().count(Event.WITNESS_DISAGREES) == 1
    assert (witness.state["size"], witness.state["evidence"]) == (seen, 1)


# ---- ours is asked


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    log = OtherLog(key=Ed25519PrivateKey.from_private_bytes(SEED))
    ward = Ward(tmp_path / "site", Witnessing(logs=(log.signer.public,)))
    ca = tmp_path / "ca.pem"
    ca.write_bytes(ward.door.centre._ca.pem)
    yield Site(ward, log, verified_context(ca))
    ward.close()


def test_a_client_that_is_not_ours_is_cosigned_by_our_witness_and_refused_where_it_lies(
    site: Site, tmp_path: Path
) -> None:
    script, origin = str(SCRIPTS / "ask.py"), site.other.signer.public.name
    told = json.loads(foreign(script, site.url, site.key.vkey, str(tmp_path / "ca.pem"), SEED.hex(), origin))

    assert told == {
        "first": "cosigned 5",
        "learns the size and goes on": "cosigned 9",
        "again": "cosigned 9",
        "another view": "refused 422",
        "another root": "refused 422",
        "rolled back": "it has 9",
        "another key": "refused 403",
        "unknown log": "refused 404",
        "goes on": "cosigned 21",
    }
    records = site.ward.people("GET", "/api/v1/audit/records").body.decode()
    assert records.count("log.other-log-refused") == 2
