"""A day in a log: what a patient's image goes through, beside that of another one."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from random import Random
from zlib import crc32

from control_plane.erasure.resealing import Resealing
from shared.audit.events import Event, Subject
from tests.control_plane.vault.bench import ENTRY, Bench, HostBench

PERSON, PATIENT, OTHER = "A. Admin", ENTRY.patient_id, "9"
AUDITOR = "A. Auditor"


def meeting() -> list[str]:
    """Return 16 names that have the same hash in the index.

    Of two parts with the same CRC either goes for the other anywhere; among 100,000 there are some such pairs.
    """
    random, seen = Random(1), dict[int, str]()
    while True:
        part = random.randbytes(4).hex()
        other = seen.setdefault(crc32(part.encode()), part)
        if other != part:
            return ["".join(parts) for parts in product((other, part), repeat=4)]


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
