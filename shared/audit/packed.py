"""A batch as bytes and lengths: the same content as its JSON, which is neither escaped nor written in base64.

    packed  = "LGPACK" || u16 version || u16 records || u16 statement bytes || statement || lengths || parts
    lengths = for each record: u16 bytes of its public part || u16 bytes of its sealed part, 0 where there is none
    parts   = for each record: public part || sealed part

Big-endian. One encoding of a batch: every length is used, and nothing follows the last part.
docs/formats/audit-record.md section 5
"""

import struct

from shared.audit.batch import MAX_BYTES, MAX_RECORDS, MAX_STATEMENT_BYTES, Batch
from shared.audit.record import MAX_SEALED_BYTES, StoredRecord
from shared.errors import Malformed

# What a centre that reads packed batches names among the things that it reads.
MEMBER = "packed-audit-batch"
MAGIC = b"LGPACK"
_VERSION = 1
_HEAD = struct.Struct(">6s3H")
_WHAT = "packed audit batch"


def pack(batch: Batch) -> bytes:
    """Write `batch`, whose sealed parts have a byte at least, as every box has."""
    sizes = [len(part or b"") for record in batch.records for part in record]
    head = _HEAD.pack(MAGIC, _VERSION, len(batch.records), len(batch.statement))
    parts = [part or b"" for record in batch.records for part in record]
    return b"".join((head, batch.statement, struct.pack(f">{len(sizes)}H", *sizes), *parts))


def unpack(data: bytes) -> Batch:
    """Read what `pack` writes. Raises Malformed; nothing is verified yet."""
    if len(data) > MAX_BYTES:
        raise Malformed(_WHAT, f"larger than {MAX_BYTES} bytes")
    if len(data) < _HEAD.size:
        raise Malformed(_WHAT, "shorter than its fixed parts")
    magic, version, count, statement_bytes = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise Malformed(_WHAT, f"does not begin with {MAGIC.decode()}")
    if version != _VERSION:
        raise Malformed(_WHAT, f"version {version}; this reader knows {_VERSION}")
    if count > MAX_RECORDS or statement_bytes > MAX_STATEMENT_BYTES:
        raise Malformed(_WHAT, f"more than {MAX_RECORDS} records, or a statement beyond {MAX_STATEMENT_BYTES} bytes")
    lengths_at = _HEAD.size + statement_bytes
    at = lengths_at + 4 * count
    if len(data) < at:
        raise Malformed(_WHAT, "ends before its parts begin")
    sizes = struct.unpack_from(f">{2 * count}H", data, lengths_at)
    if at + sum(sizes) != len(data) or max(sizes[1::2], default=0) > MAX_SEALED_BYTES:
        raise Malformed(_WHAT, f"its lengths are not those of its parts, or one is beyond {MAX_SEALED_BYTES} bytes")
    records = list[StoredRecord]()
    for public_bytes, sealed_bytes in zip(sizes[::2], sizes[1::2], strict=True):
        middle = at + public_bytes
        end = middle + sealed_bytes
        records.append(StoredRecord(data[at:middle], data[middle:end] or None))
        at = end
    return Batch(tuple(records), data[_HEAD.size : lengths_at])
