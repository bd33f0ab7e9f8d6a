"""The reader of attributes, in every encoding, fed in pieces as an association feeds it."""

from edge_agent.capture.attributes import GRADING_TAGS, IndexReader
from shared.sealing.index import IndexEntry
from tests.edge_agent.capture.images import NAMES, load
from tests.edge_agent.capture.malformed import CORPUS, LARGE
from tests.fuzz.target import Target

SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.90",
)
_ENOUGH_BYTES = 3000
LOOKED_AT = set(GRADING_TAGS)


def read(data: bytes) -> None:
    """The first byte chooses the transfer syntax, the second the size of the pieces."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES)] if data else SYNTAXES[0]
    step = 16 << (data[1] % 8) if len(data) > 1 else 16
    entry, attributes = _read(data[2:], syntax, step, LOOKED_AT)
    assert IndexEntry.parse(entry.encode()) == entry
    assert entry.evaluated or attributes is None
    assert attributes is None or attributes.keys() == LOOKED_AT
    assert _read(data[2:], syntax, len(data) + 1, LOOKED_AT) == (entry, attributes), (
        "what is read depends on how it came"
    )
    assert _read(data[2:], syntax, step, set())[0] == entry, "what rules look at changes what is found"


def _read(data: bytes, syntax: str, step: int, looked_at: set[str]) -> tuple[IndexEntry, dict[str, str] | None]:
    reader = IndexReader(syntax, looked_at)
    for start in range(0, len(data), step):
        reader.update(memoryview(data)[start : start + step])
    return reader.finish(), reader.attributes


def _seed(syntax: str, dataset: bytes) -> bytes:
    return bytes((SYNTAXES.index(syntax) if syntax in SYNTAXES else 1, 4)) + dataset[:_ENOUGH_BYTES]


_IMAGES = [load(name) for name in NAMES]
_MALFORMED = [case for name, case in CORPUS.items() if name not in LARGE]
TARGET = Target(
    "attributes",
    read,
    (
        *(_seed(image.transfer_syntax, image.dataset) for image in _IMAGES),
        *(_seed(case.transfer_syntax, case.dataset()) for case in _MALFORMED if len(case.dataset()) < _ENOUGH_BYTES),
    ),
)
