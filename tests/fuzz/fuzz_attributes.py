"""The reader of attributes, in every encoding, fed in pieces as an association feeds it."""

from edge_agent.capture.attributes import IndexReader
from shared.sealing.index import IndexEntry
from tests.edge_agent.capture.images import NAMES, load
from tests.fuzz.target import Target

SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.90",
)
_ENOUGH_BYTES = 3000


def read(data: bytes) -> None:
    """The first byte chooses the transfer syntax, the second the size of the pieces."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES)] if data else SYNTAXES[0]
    step = 16 << (data[1] % 8) if len(data) > 1 else 16
    entry = _entry(data[2:], syntax, step)
    assert IndexEntry.parse(entry.encode()) == entry
    assert _entry(data[2:], syntax, len(data) + 1) == entry, "what is read depends on how it came"


def _entry(data: bytes, syntax: str, step: int) -> IndexEntry:
    reader = IndexReader(syntax)
    for start in range(0, len(data), step):
        reader.update(memoryview(data)[start : start + step])
    return reader.finish()


def _seed(name: str) -> bytes:
    image = load(name)
    syntax = SYNTAXES.index(image.transfer_syntax) if image.transfer_syntax in SYNTAXES else 1
    return bytes((syntax, 4)) + image.dataset[:_ENOUGH_BYTES]


TARGET = Target("attributes", read, tuple(_seed(name) for name in NAMES))
