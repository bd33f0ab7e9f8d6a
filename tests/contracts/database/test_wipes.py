"""Wipe orders on every engine: of two at once one counts, and what was ordered and proved outlives a lost centre."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from control_plane.db.engine import close_database
from control_plane.sanitize.orders import SignedBefore
from control_plane.settings import Folders
from shared.audit.events import Event
from shared.errors import Refused
from shared.sanitization.envelope import sign_ticket
from shared.sanitization.note import NoteEvent
from tests.contracts.database.originals import Place
from tests.control_plane.backup.kept import Kept
from tests.control_plane.sanitize.desk import Desk
from tests.shared.sanitization import wipes
from tests.shared.sanitization.tickets import BEA, CAI, POLICY


def test_orders_survive_the_loss_of_the_centre_with_all_that_proves_them(place: Place, tmp_path: Path) -> None:
    kept = Kept.new(tmp_path, place.url)
    desk = Desk(kept.bench, kept.spare)
    desk.policy = dataclasses.replace(POLICY, approvals=2)
    requested, running, verified = (
        desk.order(drive=dataclasses.replace(wipes.drive_of(wipes.DISK), serial=serial, wwn="")) for serial in "123"
    )

    def approve(person: str) -> object:
        try:
            signed = sign_ticket(running, [BEA if person == "Bea" else CAI]).encode()
            desk.desk.orders.approve(person, running.ticket_id, signed)
        except Refused as exc:
            return type(exc)
        return None

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(approve, ("Bea", "Bea", "Cai", "Cai")))
    assert sorted(map(str, done)) == sorted(map(str, [None, None, SignedBefore, SignedBefore]))
    assert desk.events().count(Event.WIPE_APPROVED) == 1
    for person, signer in (("Bea", BEA), ("Cai", CAI)):
        desk.approve(verified, person, signer)
    desk.note(running, 1, NoteEvent.STARTED)
    report = desk.report(verified)
    desk.desk.holds.place("Cai", desk.host.host_id, "ransom note on the console")
    kept.back_up()
    new = Folders(tmp_path / "new")
    kept.restore(new)

    again = Desk(kept.restored(new), dataclasses.replace(kept.spare))
    again.policy = desk.policy
    assert [again.state(one) for one in (requested, running, verified)] == ["requested", "running", "verified"]
    assert again.desk.orders.waiting(again.host.host_id) == (True, ())
    again.desk.intake.take_report(again.host.host_id, verified.ticket_id, report)
    again.report(running)
    assert again.state(running) == "verified"
    for database in (kept.bench.database, again.bench.database):
        close_database(database)
