"""Fills a centre by the code of a commit, and records its database and its images: what an upgrade has to carry over.

It runs within a checkout of that commit, over that commit's own services (README.md beside it has the commands):

    python record.py FOLDER

It uses only what the code of each of them has, so type checkers of today leave it alone.
"""

# mypy: ignore-errors

import shutil
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp

from sqlalchemy import text

from control_plane.backup import lines
from control_plane.enrolment.issuance import Why, record_what_was_issued
from control_plane.enrolment.revocation import Revocation
from control_plane.keys.store import POLICY_ONLINE, RECEIPTS
from control_plane.people.accounts import Accounts
from control_plane.policy.authoring import author, make_root_and_targets, new_credential
from control_plane.policy.publisher import PolicyPublisher
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from tests.control_plane.policy.centre import POLICY
from tests.control_plane.vault.bench import ENTRY, Bench

PERSON = "ada"
STICK = (Subject("device", "1-2"), Subject("fact", "serial: 0815"), Subject("fact", "name: Stick"))
OTHER = replace(ENTRY, patient_id="9", study_instance_uid="9", sop_instance_uid="9.1")


def main(folder: Path) -> None:
    bench = Bench(Path(mkdtemp(prefix="leadglass-upgrade-")))
    Accounts(bench.database, bench.clock).create(PERSON, "administrator")
    hosts = [bench.enrol() for _ in range(3)]
    record_what_was_issued(bench.database, bench.journal, Why.FIRST_START)
    _policies(bench)
    for host in hosts:
        what = (Subject("host", str(host.host_id)),)
        _record(bench, Event.HOST_ENROLLED, what, Action.CREATE)
        host.note()
    images = [(hosts[0], ENTRY), (hosts[0], OTHER), (hosts[1], ENTRY)]
    sealed = [host.seal(f"image {number}".encode(), entry) for number, (host, entry) in enumerate(images)]
    for (host, _), image in zip(images, sealed, strict=True):
        host.captured(image)
        _passes(bench)
    hosts[1].note(Event.DEVICE_DECIDED, STICK)
    hosts[2].note(Event.IMAGE_REFUSED, (Subject("object", "f" * 32),), private={"sop_instance": "9.2"})
    # Two batches of one host, with those of the others between: entries alternate, as they do in a hospital.
    hosts[0].deliver(1, 2)
    hosts[1].deliver(1, len(hosts[1].journal))
    hosts[2].deliver(1, len(hosts[2].journal))
    hosts[0].deliver(3, len(hosts[0].journal))
    for image in sealed:
        bench.receive(image)
        _passes(bench)
    bench.finder.find("A. Admin", patient_id=ENTRY.patient_id)
    bench.read(sealed[0])
    _record(bench, Event.SIGN_IN_REFUSED, (Subject("person", PERSON),), Action.EXECUTE, Outcome.MINOR_FAILURE)
    Revocation(bench.database, bench.journal, lambda _host: "").revoke(PERSON, hosts[2].host_id, "stolen")
    wrong = {source: one for source, one in bench.reading.prove().items() if one.state != "verified"}
    assert not wrong, wrong
    _store(bench, folder)


def _policies(bench: Bench) -> None:
    bench.keys.create_p256(POLICY_ONLINE)
    credential = new_credential(
        person=PERSON, role="administrator", url="http://127.0.0.1:1", token="t0ken",
        sealing_keys=bench.keys.sealing_keys(), receipt_key=bench.keys.signer(RECEIPTS).public,
    )  # fmt: skip
    publisher = PolicyPublisher(bench.database, bench.keys, bench.journal, bench.clock)
    online = bench.keys.p256(POLICY_ONLINE).public_key()
    publisher.establish(*make_root_and_targets([credential.signer], online, bench.clock), PERSON)
    for _ in range(2):
        _passes(bench)
        publisher.publish(author(POLICY, publisher.parts(), credential, bench.clock), PERSON)


def _record(
    bench: Bench, event: Event, what: tuple[Subject, ...], action: Action, outcome: Outcome = Outcome.SUCCESS
) -> None:
    bench.journal.record(Happening(event, action, outcome, (Participant("person", PERSON, True),), what))
    _passes(bench)


def _passes(bench: Bench) -> None:
    bench.clock.advance(timedelta(seconds=1))


def _store(bench: Bench, folder: Path) -> None:
    folder.mkdir(parents=True)
    with bench.database() as session, (folder / "database.lines").open("wb") as file:
        schema = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        file.writelines(lines.dump(session, schema, b"a root key that lies elsewhere"))
    for body in (bench.folder / "objects").rglob("*.body"):
        shutil.copyfile(body, folder / body.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
