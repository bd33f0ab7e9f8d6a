"""Verifies a batch column by column, and takes and refuses what `verify_batch` does.

Whatever does not hold at once is verified record by record, which says what is wrong and where.
"""

from collections.abc import Sequence
from typing import NamedTuple

from control_plane.audit_log.quick_reader import read_all, record_reader
from shared.audit.batch import Batch, Statement, verify_chained, verify_stated
from shared.audit.record import ReadRecord, leaf_hashes
from shared.errors import Malformed
from shared.signing import EvidencePublicKey


class Verified(NamedTuple):
    """Records of a batch that holds, and their leaves."""

    records: Sequence[ReadRecord]
    leaves: Sequence[bytes]


def verify_quickly(batch: Batch, source: str, key: EvidencePublicKey) -> Verified:
    """Do what `verify_batch` does, and raise what it raises."""
    statement = verify_stated(batch, source, key)
    publics = [public for public, _ in batch.records]
    leaves = leaf_hashes(publics)
    try:
        records: Sequence[ReadRecord] = read_all(publics)
    except Malformed:
        records = ()
    if not _are_chained(records, leaves, batch, statement):
        records = verify_chained(record_reader(), batch, statement)
    return Verified(records, leaves)


def _are_chained(records: Sequence[ReadRecord], leaves: Sequence[bytes], batch: Batch, statement: Statement) -> bool:
    return (
        {record.source for record in records} == {statement.source}
        and [record.seq for record in records] == list(range(statement.first, statement.last + 1))
        and [statement.prev, *leaves] == [*[record.prev for record in records], statement.head]
        and [record.commitment is None for record in records] == [sealed is None for _, sealed in batch.records]
    )
