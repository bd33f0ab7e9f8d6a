"""Waiting objects whose bytes went bad on the disk: noticed, kept, recorded, and no other is held up by them."""

from collections.abc import Callable, Collection

import pytest

from edge_agent.config import AgentFolder
from shared.audit.events import Event, Outcome
from shared.audit.record import AuditRecord
from shared.sealing.chunked import NotAuthentic
from tests.faults import inside
from tests.faults.agent import running
from tests.faults.evidence import delivered, verify_log, verify_no_plaintext, verify_none_twice
from tests.faults.modality import Image, Modality, images
from tests.faults.vault import Vault, judge_small_parts

SIZES = {"in a segment": 20_000, "a file of its own": 1_300_000}


def _flipped(at: float) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        data = bytearray(content)
        data[min(int(len(data) * at), len(data) - 1)] ^= 0x10
        return bytes(data)

    return flip


def _small_parts_flipped(from_the_end: int) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        at = len(content) - from_the_end
        return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]

    return flip


# Behind the body lie a wrap of 1,200 bytes, the index, a record of 650 and a footer of 28.
ROT: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit in the head": _flipped(0.0),
    "a flipped bit in the body": _flipped(0.5),
    "a flipped bit in the index": _small_parts_flipped(1000),
    "a flipped bit in the record": _small_parts_flipped(300),
    "a flipped bit in the footer": _flipped(1.0),
    "an end of zeros": lambda content: content[:-500] + bytes(500),
    "a second half of zeros": lambda content: content[: len(content) // 2] + bytes(-(-len(content) // 2)),
    "nothing left": lambda content: bytes(len(content)),
}

# A good one before and after each.
_COUNT, _ROTTEN = 2 * len(ROT) + 1, dict(zip(range(1, 2 * len(ROT), 2), ROT, strict=True))
_ONE = 3


@pytest.fixture
def size_bytes() -> int:
    return SIZES["in a segment"]


@pytest.fixture
def waiting(centre: Vault, enrolled: AgentFolder, size_bytes: int) -> Modality:
    """Images that were captured while the vault was away, with no agent running."""
    centre.vault_status = 503
    modality = Modality(images(_COUNT, size_bytes))
    with running(enrolled) as agent:
        modality.send(agent.port())
        agent.wait_until(lambda: agent.status().coming_in == 0)
        agent.killed()
    centre.vault_status = 0
    assert len(modality.acknowledged) == _COUNT
    return modality


def verify_noticed(centre: Vault, modality: Modality, rotten: Collection[int]) -> list[AuditRecord]:
    """Check that all but the rotten objects arrived, and that nobody can take one of those for delivered."""
    sent: list[Image] = list(modality.acknowledged.values())
    found = delivered(centre)
    verify_none_twice(found)
    assert [number for number, one in enumerate(sent) if not found[one.digest]] == list(rotten)
    bad = [
        record
        for record in verify_log(centre)
        if record.event in (Event.DELIVERY_REFUSED, Event.OBJECT_DAMAGED) and record.outcome is not Outcome.SUCCESS
    ]
    named = {subject.name for record in bad for subject in record.what if subject.kind == "object"}
    assert len(named) == len(rotten), "the log does not say of each that it is damaged"
    assert all(record.reason for record in bad)
    return bad


@pytest.mark.parametrize("size_bytes", SIZES.values(), ids=SIZES)
def test_a_rotten_object_is_put_aside_and_named_and_the_others_arrive(
    centre: Vault, enrolled: AgentFolder, waiting: Modality
) -> None:
    objects, left = inside.waiting_objects(enrolled), list[bytes]()
    for number, how in _ROTTEN.items():
        left.append(ROT[how](objects[number].read()))
        objects[number].write(left[-1])
    with running(enrolled) as agent:
        agent.wait_until_idle()
        status = agent.status()

    verify_noticed(centre, waiting, _ROTTEN)
    verify_no_plaintext(enrolled.path)
    assert (status.put_aside, status.waiting, status.delivered) == (len(ROT), 0, _COUNT - len(ROT))
    assert status.refused >= 1
    # They are evidence, and perhaps not past saving.
    kept = [path.read_bytes() for path in enrolled.spool.rglob("*") if path.is_file()]
    assert [how for how, content in zip(ROT, left, strict=True) if not any(content in file for file in kept)] == []


def test_control_a_vault_that_does_not_read_what_it_takes_lets_rot_pass(
    centre: Vault, enrolled: AgentFolder, waiting: Modality
) -> None:
    rotten = inside.waiting_objects(enrolled)[_ONE]
    rotten.write(ROT["a flipped bit in the body"](rotten.read()))
    centre.judge = judge_small_parts
    with running(enrolled) as agent:
        agent.wait_until_idle()

    with pytest.raises(NotAuthentic):
        verify_noticed(centre, waiting, [_ONE])


@pytest.mark.parametrize("size_bytes", [SIZES["a file of its own"]])
def test_an_object_that_cannot_be_read_stays_is_named_and_holds_up_nobody(
    centre: Vault, enrolled: AgentFolder, waiting: Modality
) -> None:
    with inside.unreadable(inside.waiting_objects(enrolled)[_ONE]), running(enrolled) as agent:
        agent.wait_until(lambda: len(centre.objects) == _COUNT - 1)
        agent.wait_until(lambda: agent.status().waiting == 1)
        agent.wait_until(lambda: agent.status().audit_waiting == 0)
    verify_noticed(centre, waiting, [_ONE])
    with running(enrolled) as agent:
        agent.wait_until_idle()

    found = delivered(centre)
    verify_none_twice(found)
    assert all(found[digest] for digest in waiting.acknowledged)
