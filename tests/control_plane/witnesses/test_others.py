"""This centre as a witness by the C2SP protocol, and as a log that asks one: over the doors that others reach."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.settings import AskedWitness, SettingRefused, Witnessing, witnessing
from control_plane.witnesses import submission
from control_plane.witnesses.asking import Answer, WitnessSilent, post_to
from edge_agent.https import verified_context
from shared.audit.events import Event
from shared.audit.tlog.keys import cosigned_at
from shared.audit.tlog.note import Note, sign_note
from tests.control_plane.checkpoints.ward import Ward
from tests.control_plane.vault.bench import Bench
from tests.control_plane.witnesses.logs import OtherLog
from tests.control_plane.witnesses.sites import Asking, Site, copied


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    other = OtherLog()
    ward = Ward(tmp_path / "site", Witnessing(logs=(other.signer.public,)))
    ca = tmp_path / "ca.pem"
    ca.write_bytes(ward.door.centre._ca.pem)
    yield Site(ward, other, verified_context(ca))
    ward.close()


def test_it_cosigns_what_goes_on_and_answers_everything_else_as_the_specification_has_it(site: Site) -> None:
    log, unknown = site.other, OtherLog("example.com/unknown")
    impostor = OtherLog()

    status, _, line = site.post(log.request(0, 5))
    assert status == 200
    text, _, signed = log.checkpoint(5).rpartition("\n\n")
    ((known, one),) = Note.parse(f"{text}\n\n{signed}{line}").verify([site.key])
    assert (known, cosigned_at(one.signature) > 1_700_000_000) == (site.key, True)

    assert site.post(log.request(0, 9))[:3] == (409, "text/x.tlog.size", "5\n")
    assert site.post(log.request(5, 9))[0] == 200
    assert site.post(log.request(9, 9))[0] == 200
    assert site.post(unknown.request(0, 5))[0] == 404
    assert site.post(impostor.request(9, 12))[0] == 403
    assert site.post(log.request(9, 12).replace(b"old 9", b"old 13"))[0] == 400
    assert site.post(b"old 9\nnothing")[0] == 400
    assert site.post(re.sub(rb"old 9\n[^\n]*\n", b"old 9\n", log.request(9, 12)))[0] == 422


def test_two_views_get_no_two_cosignatures_and_the_other_one_is_named(site: Site) -> None:
    assert site.post(site.other.request(0, 5))[0] == 200

    assert site.post(site.other.request(5, 9, view="another"))[0] == 422
    assert site.post(site.other.request(5, 5, view="another"))[0] == 422
    records = site.ward.people("GET", "/api/v1/audit/records").body.decode()
    assert records.count("log.other-log-refused") == 2
    assert site.post(site.other.request(5, 9))[0] == 200


def test_a_witness_that_asks_for_no_consistency_cosigns_both_views(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this as the control: what refuses the other view is the proof."""
    monkeypatch.setattr(submission, "verify_consistency", lambda *_: None)
    site.post(site.other.request(0, 5))

    assert site.post(site.other.request(5, 9, view="another"))[0] == 200


def test_what_it_cosigned_outlives_a_restart(site: Site) -> None:
    site.post(site.other.request(0, 5))
    key = site.key
    site.ward.stop()
    site.ward.start()

    assert site.key == key
    assert site.post(site.other.request(0, 4))[0] == 409
    assert site.post(site.other.request(5, 9))[0] == 200


def test_who_is_refused_over_and_over_is_made_to_wait(site: Site) -> None:
    statuses = [site.post(b"nothing")[0] for _ in range(12)]

    assert set(statuses[:10]) == {400}
    assert statuses[10:] == [429, 429]


# ---- asking


@pytest.fixture
def asking(tmp_path: Path, site: Site) -> Asking:
    """A log that asks another site, which witnesses it."""
    post = post_to(lambda: site.context)
    made = Asking(tmp_path / "asking", site.url, site.key, post)
    door = site.ward.door.centre
    logs = (*door._settings.witnessing.logs, made.key)
    site.ward._settings = site.ward._settings.__class__(
        **{**site.ward._settings.__dict__, "witnessing": Witnessing(logs=logs)}
    )
    site.ward.stop()
    site.ward.start()
    made.grow(3)
    return made


def test_another_site_cosigns_each_round_and_the_note_says_so_to_anybody(asking: Asking, site: Site) -> None:
    asking.asking.ask_all()
    asking.grow(4)
    asking.clock.advance(timedelta(seconds=1))
    asking.asking.ask_all()
    witness, cosigned = asking.witness, Note.parse(asking.showing.cosigned())

    assert (witness["size"], witness["consistent"], witness["silent"], witness["why"]) == (8, True, False, "")
    assert [known.name for known, _ in cosigned.verify([asking.key, site.key])] == [asking.key.name, site.key.name]
    assert asking.showing.gaps() == []


def test_a_witness_that_answers_a_byte_at_a_time_keeps_the_others_from_nothing() -> None:
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            held, _ = server.accept()
            with held, suppress(OSError):
                held.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                for _ in range(400):
                    if ended.wait(0.02):
                        return
                    held.sendall(b"x")
                held.sendall(b"\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/add-checkpoint"
        try:
            with pytest.raises(WitnessSilent):
                post_to(longest_s=0.2)(url, b"")
        finally:
            ended.set()
            thread.join()


def test_a_database_that_is_put_back_is_found_by_another_site_alone(asking: Asking, tmp_path: Path) -> None:
    """The control is the test before."""
    file, yesterday = asking.bench.database.kw["bind"].url.database, tmp_path / "yesterday.sqlite"
    copied(file, yesterday)
    asking.grow(4)
    asking.asking.ask_all()
    copied(yesterday, file)
    asking.grow(1)
    asking.asking.ask_all()
    shorter = asking.witness
    asking.grow(9)
    asking.clock.advance(timedelta(seconds=1))
    asking.asking.ask_all()

    assert "it says that it cosigned 7 entries, and this log has 4" in str(shorter["why"])
    (gap,) = asking.showing.gaps()
    assert "it says that this log does not go on from what it cosigned" in gap
    assert asking.bench.events().count(Event.WITNESS_DISAGREES) == 1


def test_a_witness_that_is_away_holds_up_nothing_and_is_said_to_be_silent(tmp_path: Path) -> None:
    def away(_url: str, _body: bytes) -> Answer:
        raise WitnessSilent("ConnectionRefusedError")

    made = Asking(tmp_path, "https://192.0.2.1", Bench(tmp_path / "key").keys.witness_signer().public, away)
    made.grow(1)
    made.asking.ask_all()
    made.grow(1)

    said = " ".join(made.showing.gaps())
    assert "ConnectionRefusedError" in said
    assert "it has never cosigned" in said


def test_a_forged_answer_is_not_taken(tmp_path: Path) -> None:
    """A witness's key is what counts; whoever answers in its place has another."""
    forger, known = Bench(tmp_path / "forger"), Bench(tmp_path / "known").keys.witness_signer().public
    made = Asking(tmp_path / "asking", "http://192.0.2.1", known, lambda _url, _body: Answer(200, b""))
    made.grow(1)
    made.asking.ask_all()
    assert made.witness["consistent"] is None

    signer = forger.keys.witness_signer()
    text, _, _ = made.rounds.current().note.rpartition("\n\n")
    line = sign_note(text + "\n", signer, seconds=1_800_000_000).signatures[0].line().encode()
    made.asking._post = lambda _url, _body: Answer(200, line)
    made.asking.ask_all()
    assert made.witness["consistent"] is None
    assert "no key that is known signed it" in str(made.witness["why"])


def test_the_file_of_witnesses_says_who_asks_whom(tmp_path: Path) -> None:
    log, file = OtherLog().signer.public, tmp_path / "witnesses"
    witness = Bench(tmp_path / "bench").keys.witness_signer().public
    file.write_text(f"# ours\n\nask https://witness.example/w {witness.vkey}\nlog {log.vkey}\n")

    read = witnessing(file)
    assert (read.asked, read.logs) == ((AskedWitness("https://witness.example/w", witness),), (log,))
    for wrong in (f"ask ftp://a {witness.vkey}", f"log {witness.vkey}", "ask", f"log {log.vkey}\nlog {log.vkey}"):
        file.write_text(wrong)
        with pytest.raises(SettingRefused):
            witnessing(file)
