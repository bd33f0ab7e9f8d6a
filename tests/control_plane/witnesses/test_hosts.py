"""Hosts as witnesses: what they cosign, and that any one of them finds what was cut off, exchanged or put back."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, update

from control_plane.__main__ import main as server
from control_plane.checkpoints import trees
from control_plane.db.models import (
    AuditRow,
    AuditStatement,
    LogCosignature,
    LogHead,
    LogRound,
    LogTile,
    LogWitness,
)
from control_plane.settings import Witnessing
from control_plane.witnesses import gathering
from edge_agent.config import load_identity
from edge_agent.https import DoorUnavailable
from provisioning.verify.__main__ import main as verify
from shared.audit.tlog.checkpoint import claimed_head
from shared.audit.tlog.keys import KeyType, NoteKey, NoteSigner
from shared.audit.tlog.note import Note, sign_note
from shared.audit.tlog.witness_key import sign_witness_key, witness_name
from shared.audit.tlog.witnessing import COSIGNATURE_PATH, Cosigned
from tests.control_plane.checkpoints.ward import Host, Ward
from tests.control_plane.tlog.test_inclusion import delivered


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path)
    yield ward
    ward.close()


def witnesses(ward: Ward) -> dict[str, Any]:
    answer = ward.people("GET", "/api/v1/log/witnesses")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found


def of(ward: Ward, host: Host) -> dict[str, Any]:
    (one,) = (one for one in witnesses(ward)["witnesses"] if one["name"] == witness_name(host.host_id))
    return dict(one)


def note(host: Host) -> str:
    held = host.store.held().note
    assert held is not None
    return held


def records_of(ward: Ward, event: str) -> list[dict[str, Any]]:
    records = json.loads(ward.people("GET", "/api/v1/audit/records?limit=200").body)["records"]
    return [record for record in records if record["event"] == event]


def test_hosts_cosign_the_same_checkpoint_and_the_report_names_who_saw_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ward = Ward(tmp_path, Witnessing(round_s=600))
    a, b, c = ward.enrol("CT A"), ward.enrol("CT B"), ward.enrol("CT C")
    c.report(1)
    a.witness.ask()
    b.witness.ask()
    report = witnesses(ward)
    shown = ward.people("GET", "/api/v1/log/cosigned").body.decode()
    keys = [NoteKey.parse(one["vkey"]) for one in report["witnesses"] if one["vkey"]]

    assert [one["asset"] for one in report["witnesses"]] == ["CT A", "CT B", "CT C"]
    assert [one["consistent"] for one in report["witnesses"]] == [True, True, None]
    assert {one["size"] for one in report["witnesses"][:2]} == {claimed_head(note(a)).size}
    assert [known for known, _ in Note.parse(shown).verify(keys)] == sorted(keys, key=lambda key: key.name)
    assert len(records_of(ward, "log.witness-known")) == 2
    assert proof_asks_for_two(ward, tmp_path, [key.vkey for key in keys])
    assert person(ward, "audit", "witnesses", "--out", tmp_path / "cosigned") == 0
    said = capsys.readouterr().out
    assert f"{witness_name(a.host_id)} (CT A): saw {claimed_head(note(a)).size} entries, root " in said
    assert f"{witness_name(c.host_id)} (CT C): has cosigned nothing" in said
    assert (tmp_path / "cosigned").read_text() == shown
    ward.close()


def person(ward: Ward, *command: object) -> int:
    url = str(ward.door.addresses["people_url"])
    return server([*map(str, command), "--as", str(ward.made.credential), "--url", url])


def proof_asks_for_two(ward: Ward, folder: Path, vkeys: list[str]) -> bool:
    """Return whether a proof of the log's first record says to anybody that two witnesses saw it, and not three."""
    body: dict[str, object] = {"source": "control-plane", "seq": 1}
    found = json.loads(ward.people("POST", "/api/v1/log/proof", body).body)
    files = {"one.tlog-proof": found["proof"], "one.json": found["public"], "ca": ward.door.centre._ca.pem.decode()}
    for name, text in files.items():
        (folder / name).write_text(text)
    options = ["--record", str(folder / "one.json"), "--ca", str(folder / "ca"), "--witness", vkeys[0]]
    stranger = NoteSigner("w", Ed25519PrivateKey.generate(), KeyType.COSIGNATURE).public.vkey
    asked = [*options, "--witness", vkeys[1], "--witness", stranger, "--at-least"]
    return [verify(["log", str(folder / "one.tlog-proof"), *asked, most]) for most in ("2", "3")] == [0, 1]


@pytest.mark.parametrize("by", ["A", "B"])
def test_yesterdays_database_is_found_by_any_one_host_that_saw_records_of_hosts_alone(ward: Ward, by: str) -> None:
    """No number of the centre's own is missing, so that nothing but the tree heads shows it."""
    a, b = ward.enrol("CT A"), ward.enrol("CT B")
    a.witness.ask()
    b.witness.ask()
    copied = ward.copy()
    delivered(a)
    finder = a if by == "A" else b
    finder.witness.ask()
    saw = claimed_head(note(finder))
    ward.restore(copied, with_mark=False, with_list=True)
    finder.witness.ask()

    said = f"{finder.host_id} saw {saw.size} entries of the Merkle log, root {saw.root.hex()}"
    assert said in ward.gaps()
    assert "saw number" not in ward.gaps()
    assert finder.said.startswith(("forked", "shrank"))
    assert person(ward, "audit", "witnesses") == 1
    (finding,) = witnesses(ward)["findings"]
    assert (finding["who"], finding["accepted_by"]) == (str(finder.host_id), None)
    (record,) = records_of(ward, "log.loss-found")
    assert {"kind": "tree", "name": str(saw.size)} in record["what"]
    with pytest.raises(DoorUnavailable, match="Issuing stopped"):
        finder.renewal.renew()


def test_a_tail_that_is_cut_off_with_all_that_was_signed_of_it_is_found_by_a_host_that_saw_it(ward: Ward) -> None:
    """The control is `audit verify`, to which what is left is whole."""
    a, finder = ward.enrol("CT A"), ward.enrol("CT B")
    finder.witness.ask()
    cut = tail_cutter(ward)
    delivered(a)
    finder.witness.ask()
    saw = claimed_head(note(finder))
    cut(str(a.host_id))
    finder.witness.ask()

    verdicts = json.loads(ward.people("POST", "/api/v1/audit/verify", {}).body)
    assert {name: one["state"] for name, one in verdicts.items() if one["state"] != "verified"} == {}
    assert finder.said.startswith("forked: ")  # that it was found is an entry already
    assert f"{finder.host_id} saw {saw.size} entries of the Merkle log, root {saw.root.hex()}" in ward.gaps()
    assert f"it had {saw.size - 1}; " in ward.gaps()


def tail_cutter(ward: Ward) -> Callable[[str], None]:
    """Return what takes the log back to what it is now, as whoever may write to the database does it."""
    database = ward.door.centre._database
    with database() as session:
        tiles = [(one.level, one.number, one.hashes) for one in session.query(LogTile)]
        head = session.query(LogHead).one()
        then = {"size": head.size, "range": head.range, "checkpoint": head.checkpoint}

    def cut(source: str) -> None:
        with database.begin() as session:
            session.execute(delete(AuditRow).where(AuditRow.entry >= then["size"]))
            session.execute(delete(AuditStatement).where(AuditStatement.source == source))
            for table in (LogTile, LogRound, LogCosignature, LogWitness):
                session.execute(delete(table))
            session.add_all(LogTile(level=at, number=number, hashes=hashes) for at, number, hashes in tiles)
            session.execute(update(LogHead).values(**then))

    return cut


def test_without_tree_heads_records_of_hosts_are_lost_unseen(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this as the control: what finds them is the head."""
    monkeypatch.setattr(trees, "judge_head", lambda *_: None)
    a = ward.enrol("CT A")
    a.witness.ask()
    copied = ward.copy()
    delivered(a)
    a.witness.ask()
    ward.restore(copied, with_mark=False, with_list=True)
    a.witness.ask()

    assert "entries of the Merkle log" not in ward.gaps()
    a.renewal.renew()


def test_the_mark_beside_the_root_key_finds_it_before_any_host_asks(ward: Ward) -> None:
    a = ward.enrol("CT A")
    copied = ward.copy()
    delivered(a)
    ward.door.centre._log.look()
    ward.restore(copied, with_mark=True, with_list=True)

    assert "the mark beside the root key saw " in ward.gaps()
    assert "entries of the Merkle log" in ward.gaps()


def test_a_lost_tree_that_a_person_accepted_is_followed_and_one_that_is_lost_later_is_found_again(ward: Ward) -> None:
    a = ward.enrol("CT A")
    a.witness.ask()
    copied = ward.copy()
    delivered(a)
    a.witness.ask()
    saw = note(a)
    ward.restore(copied, with_mark=False, with_list=True)
    a.witness.ask()
    accepted = ward.people("POST", "/api/v1/log/accept-loss", {"reason": "the disk broke, ticket 9"})
    a.witness.ask()

    assert (accepted.status, a.said) == (200, "")
    assert json.loads(accepted.body)["tree"] == claimed_head(saw).size
    assert "entries of the Merkle log" not in ward.gaps()
    a.renewal.renew()
    assert a.database.read("SELECT note FROM log_head_lost") == [(saw,)]
    assert of(ward, a)["consistent"] is True
    ward.stop()
    ward.start()
    assert "centre's log: " not in ward.gaps()

    copied = ward.copy()
    delivered_again(ward)
    a.witness.ask()
    ward.restore(copied, with_mark=False, with_list=True)
    a.witness.ask()
    assert a.said.startswith(("forked", "shrank"))
    with pytest.raises(DoorUnavailable, match="Issuing stopped"):
        a.renewal.renew()


def delivered_again(ward: Ward) -> None:
    """Have the log grow by what another host sends."""
    delivered(ward.enrol("CT Z"))


def test_two_views_that_are_shown_to_two_hosts_share_no_two_cosignatures_and_the_first_that_changes_sides_names_it(
    ward: Ward,
) -> None:
    a, b = ward.enrol("CT A"), ward.enrol("CT B")
    split = ward.copy()
    delivered(a)
    a.witness.ask()
    first = ward.people("GET", "/api/v1/log/cosigned").body.decode()
    ward.restore(split, with_mark=False, with_list=True)
    delivered(b)
    b.witness.ask()
    second, found = ward.people("GET", "/api/v1/log/cosigned").body.decode(), ward.gaps()
    a.witness.ask()

    names = [{one.name for one in Note.parse(shown).signatures} for shown in (first, second)]
    assert witness_name(a.host_id) in names[0] - names[1]
    assert witness_name(b.host_id) in names[1] - names[0]
    assert "entries of the Merkle log" not in found
    assert f"{a.host_id} saw {claimed_head(first).size} entries of the Merkle log" in ward.gaps()
    assert claimed_head(first).root.hex() in a.said


def cosigned(
    host: Host, signer: NoteSigner, seconds: int, checkpoint: str, name: str = "", statement: bytes = b""
) -> int:
    """Send a cosignature that is made here; return how the centre answered."""
    identity = load_identity(host.folder)
    parsed = Note.parse(checkpoint)
    (line,) = sign_note(parsed.text, signer, seconds=seconds).signatures
    made = replace(parsed, signatures=(*parsed.signatures, replace(line, name=name or line.name)))
    vouched = statement or sign_witness_key(identity.signer, host.host_id, signer.public)
    body = Cosigned(vouched, made.encode()).encode()
    return host._doors[1].post(COSIGNATURE_PATH, body, "application/json").status


def signer_of(host: Host) -> NoteSigner:
    seed = (host.folder.identity / "witness.key").read_bytes()
    return NoteSigner(witness_name(host.host_id), Ed25519PrivateKey.from_private_bytes(seed), KeyType.COSIGNATURE)


def test_a_cosignature_that_is_forged_or_replayed_is_not_taken_and_is_recorded_once(ward: Ward) -> None:
    a, b = ward.enrol("CT A"), ward.enrol("CT B")
    b.witness.ask()
    a.witness.ask()
    now = int(ward.clock.now().timestamp())
    own, other, good = signer_of(a), signer_of(b), note(a)
    stranger = NoteSigner(own.public.name, Ed25519PrivateKey.generate(), KeyType.COSIGNATURE)
    statements = [
        sign_witness_key(load_identity(host.folder).signer, host.host_id, signer_of(host).public) for host in (a, b)
    ]
    assert cosigned(a, own, now + 1, good) == 204  # the control
    before = of(ward, a)
    lies: dict[str, Callable[[], int]] = {
        "by another key": lambda: cosigned(a, stranger, now + 2, good, statement=statements[0]),
        "of another host": lambda: cosigned(a, other, now + 2, good, statement=statements[1]),
        "over another log": lambda: cosigned(a, own, now + 2, good.replace(f"\n{claimed_head(good).size}\n", "\n1\n")),
        "replayed": lambda: cosigned(a, own, now - 60, good),
        "not yet": lambda: cosigned(a, own, now + 86_400, good),
        "by another name": lambda: cosigned(a, own, now + 2, good, name=own.public.name[::-1]),
    }

    for number, (lie, send) in enumerate(lies.items(), 1):
        assert (lie, send() >= 400, send() >= 400) == (lie, True, True)
        assert of(ward, a) == before
        assert len(records_of(ward, "log.cosignature-refused")) == number


def test_a_centre_that_does_not_look_at_times_takes_an_old_cosignature_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep this as the control: what refuses the replay is the order of times."""
    monkeypatch.setattr(gathering, "_verify_goes_on", lambda *_: None)
    a = ward.enrol("CT A")
    a.witness.ask()

    assert cosigned(a, signer_of(a), int(ward.clock.now().timestamp()) - 60, note(a)) == 204


def test_a_host_that_is_revoked_cosigns_nothing_and_what_it_saw_before_still_counts(ward: Ward) -> None:
    a = ward.enrol("CT A")
    a.witness.ask()
    ward.revoke(a)

    assert cosigned(a, signer_of(a), int(ward.clock.now().timestamp()) + 1, note(a)) == 403
    assert witnesses(ward)["witnesses"] == []
    with ward.door.centre._database.begin() as session:
        row = session.get_one(LogWitness, witness_name(a.host_id))
        row.root = bytes(32)
    (seen,) = witnesses(ward)["witnesses"]
    assert seen["consistent"] is False
