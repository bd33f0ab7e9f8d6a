"""What was altered on the disk does not go out; and it is the proving that stops it, not luck."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives.asymmetric import ec

from shared.audit.events import Event, Outcome
from shared.errors import IntegrityFailure
from shared.identity import ObjectId
from shared.policy.routes import Peer
from shared.routes.image import Image
from shared.routes.peer import PeerStream
from shared.sealing.chunked import decrypt
from shared.sealing.object_file import BodyWindow
from shared.signing import SoftwareSigner
from tests.edge_agent.forward.bench import ForwardBench, Sent, pixels, route
from tests.fakes.archive import Archive


def sealed_anew(bench: ForwardBench, sent: Sent, dataset: bytes) -> None:
    """Do what whoever has the forwarding key can: put another image into the object, sealed as well as the first."""
    encryptor = Cobblestone256Encryptor(
        bench.data_key(sent.object_id), bench.spool.parts(sent.object_id).binding.encode()
    )
    bench.spool.with_body(sent.object_id, encryptor.update(dataset) + encryptor.finalize())


@contextmanager
def listened(bench: ForwardBench, peer: Peer, sent: list[bytes]) -> Iterator[PeerStream]:
    with bench.connect(peer) as connection:
        whole = connection.sendall

        def sendall(data: memoryview, /) -> None:
            sent.append(bytes(data))
            whole(data)

        connection.sendall = sendall  # type: ignore[method-assign]
        yield connection


class Broken:
    """What must never be built in: images that are described as they should be, and opened by something else."""

    def __init__(self, bench: ForwardBench) -> None:
        self._bench = bench

    def describe(self, object_id: ObjectId, name: str) -> Image:
        return self._bench.images.describe(object_id, name)

    def open(self, image: Image, _name: str, _to: str) -> Iterator[memoryview]:
        raise NotImplementedError


class Unproved(Broken):
    """Decrypts, and holds it against nothing that the host signed."""

    def open(self, image: Image, _name: str, _to: str) -> Iterator[memoryview]:
        with self._bench.images._opened(image.object_id) as opened:
            body = BodyWindow(opened.source, opened.parts)
            yield from decrypt(body, opened.contents.data_key, opened.binding.encode())


class ProvedOnlyWhileSent(Broken):
    """Leaves the first of the two passes out."""

    def open(self, image: Image, _name: str, _to: str) -> Iterator[memoryview]:
        return self._bench.images._again(image.object_id)


class Swallowing(ProvedOnlyWhileSent):
    def open(self, image: Image, name: str, to: str) -> Iterator[memoryview]:
        try:
            yield from super().open(image, name, to)
        except IntegrityFailure:
            return


@pytest.mark.parametrize("altered", ["a bit", "the whole, sealed again"])
def test_an_altered_image_is_not_sent_and_holds_up_no_other(bench: ForwardBench, pacs: Archive, altered: str) -> None:
    to = route(pacs)
    bench.publish(to)
    bad, good = bench.capture(pixels(300_000)), bench.capture()
    if altered == "a bit":
        bench.spool.flip(bad.object_id)
    else:
        sealed_anew(bench, bad, pixels(300_000, 2))

    sent = list[bytes]()
    assert bench.work(to, connect=lambda peer: listened(bench, peer, sent)) is None
    assert pacs.stored == [good.arrived]
    assert bad.uid.encode() not in b"".join(sent)  # not even its C-STORE request went out
    assert good.uid.encode() in b"".join(sent)
    assert bench.states() == ["refused", "delivered"]
    (failed,) = bench.records(Event.ROUTE_FAILED)
    assert failed.outcome is Outcome.SERIOUS_FAILURE
    assert bench.queue.openable() == 1


def test_negative_control_without_the_proof_another_image_goes_out(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    bad = bench.capture(pixels(300_000))
    sealed_anew(bench, bad, pixels(300_000, 2))

    bench.work(to, images=Unproved(bench))
    assert pacs.stored == [(bad.uid, pixels(300_000, 2))]


def test_an_image_altered_between_the_two_passes_is_broken_off_and_the_archive_keeps_nothing(
    bench: ForwardBench, pacs: Archive
) -> None:
    to = route(pacs)
    bench.publish(to)
    bad, good = bench.capture(pixels(3 << 20)), bench.capture()
    sealed_anew(bench, bad, pixels(3 << 20, 2))

    bench.work(to, images=ProvedOnlyWhileSent(bench))
    assert pacs.stored == [good.arrived]
    pacs.wait_for(lambda: pacs.aborts == 1)
    assert bench.states() == ["refused", "delivered"]


def test_negative_control_without_the_abort_the_archive_keeps_it(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    bad = bench.capture(pixels(3 << 20))
    sealed_anew(bench, bad, pixels(3 << 20, 2))

    bench.work(to, images=Swallowing(bench))
    assert pacs.uids() == [bad.uid]


def test_a_record_of_another_host_is_not_believed(bench: ForwardBench, pacs: Archive) -> None:
    """Who writes into spool and queue, and has the forwarding key, still cannot sign for this host."""
    to = route(pacs)
    bench.publish(to)
    bench.host.signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    bench.capture()

    bench.work(to)
    assert pacs.stored == []
    assert bench.whys()[0].startswith("WrongSigner")


def test_a_queue_that_somebody_wrote_into_sends_nothing_that_its_host_did_not_sign_for(
    bench: ForwardBench, pacs: Archive
) -> None:
    to = route(pacs)
    bench.publish(to, route(pacs, name="other"))
    bench.capture(routes=("other",))
    with bench.host.database.transaction() as connection:
        connection.execute("UPDATE forward SET route = 'pacs'")

    bench.work(to)
    assert pacs.stored == []
    assert "which its capture record does not name" in bench.records(Event.ROUTE_FAILED)[0].reason
