"""A day in a log: what a patient's image goes through, beside that of another one."""

from dataclasses import replace
from datetime import timedelta

from control_plane.erasure.resealing import Resealing
from shared.audit.events import Event, Subject
from tests.control_plane.vault.bench import ENTRY, Bench, HostBench

PERSON, PATIENT, OTHER = "A. Admin", ENTRY.patient_id, "9"
AUDITOR = "A. Auditor"


def told(bench: Bench) -> HostBench:
    """Have a patient's image captured, delivered, found and opened, beside another's, a stick and a refusal."""
    host = bench.enrol()
    mine, other = (
        host.seal(),
        host.seal(b"other", replace(ENTRY, patient_id="9", study_instance_uid="9", sop_instance_uid="9.1")),
    )
    for image in (mine, other):
        host.captured(image)
        bench.clock.advance(timedelta(seconds=1))
    stick = (Subject("device", "1-2"), Subject("fact", "serial: 0815"), Subject("fact", "name: Stick"))
    host.note(Event.DEVICE_DECIDED, stick)
    bench.clock.advance(timedelta(seconds=1))
    refused = (Subject("object", "f" * 32),)
    host.note(Event.IMAGE_REFUSED, refused, private={"sop_instance": ENTRY.sop_instance_uid})
    host.deliver(1, len(host.journal))
    for image in (mine, other):
        bench.receive(image)
        bench.clock.advance(timedelta(seconds=1))
    bench.finder.find(PERSON, patient_id=PATIENT)
    bench.clock.advance(timedelta(seconds=1))
    bench.read(mine)
    Resealing(bench.journal, bench.private).step()
    return host
