"""Frame digests: what the centre says about the decoded pixels of an image, signed.

    signed    = signed statement (shared.signing, label FRAMES) over canonical JSON, the members of `FrameStatement`
    digest    = SHA-256 of one frame in canonical form
    canonical = the stored value of every sample, row by row, the samples of a pixel together (Planar Configuration 0),
                each masked to Bits Stored, little-endian in 1 byte (Bits Stored up to 8), 2 (up to 16) or 4 (up to 32)

The form depends on nothing that lossless recompression changes: byte order, planar configuration, bits allocated,
and what lies above Bits Stored (PS3.5 section 8.1.1; overlays once stood there, PS3.5 section 8.1.2).
docs/formats/custody.md
"""

from dataclasses import dataclass
from datetime import datetime

from shared import canonical, clock
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.identity import UID_PATTERN, ObjectId
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

MAX_FRAMES = 10_000
MAX_SIDE = 65_535  # Rows and Columns are US: PS3.3 section C.7.6.3.1.1
MAX_SAMPLES = 4
COLOURS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422")
ALLOCATED = (1, 8, 16, 32)
# Transfer syntaxes whose encoder may lose: PS3.5 section 8.2 and Annex A.4, retired ones included.
LOSSY_SYNTAXES = frozenset(
    f"1.2.840.10008.1.2.4.{last}"
    for last in (
        *("50", "51", "52", "53", "54", "55", "56", "59", "60", "61", "62", "63", "64"),  # JPEG
        *("81", "91", "93", "203", "112"),  # JPEG-LS, JPEG 2000, HTJ2K, JPEG XL
        *("100", "101", "102", "103", "104", "105", "106", "107", "108"),  # MPEG
        *("100.1", "101.1", "102.1", "103.1", "104.1", "105.1", "106.1"),
    )
)
DECODER_PATTERN = r"[ -~]{1,100}"


@dataclass(frozen=True)
class Pixels:
    """The decoded pixels of one image: how they are described, and the digest of each frame.

    `colour` is the photometric interpretation (0028,0004) of the decoded samples: decoders of JPEG 2000 undo its
    component transform, so YBR_RCT and YBR_ICT are RGB here. `lossy` is whether Lossy Image Compression (0028,2110) is
    01 or the transfer syntax loses. `bits_allocated` is of the encoding, and no part of the canonical form.
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    colour: str
    lossy: bool
    decoder: str  # name and version of what decoded, such as "gdcm 3.2.6 with pydicom 3.0.2"
    frames: tuple[bytes, ...]

    def json(self) -> dict[str, Json]:
        return {
            "rows": self.rows,
            "columns": self.columns,
            "samples": self.samples,
            "bits_allocated": self.bits_allocated,
            "bits_stored": self.bits_stored,
            "signed": self.signed,
            "colour": self.colour,
            "lossy": self.lossy,
            "decoder": self.decoder,
            "frames": [digest.hex() for digest in self.frames],
        }

    @classmethod
    def parse(cls, fields: Fields) -> "Pixels":
        """Read the members of `json` out of `fields`. Raises Malformed."""
        allocated = fields.integer("bits_allocated", least=1, most=32)
        if allocated not in ALLOCATED:
            raise Malformed("frame digests field 'bits_allocated'", f"expected one of {ALLOCATED}")
        pixels = cls(
            rows=fields.integer("rows", least=1, most=MAX_SIDE),
            columns=fields.integer("columns", least=1, most=MAX_SIDE),
            samples=fields.integer("samples", least=1, most=MAX_SAMPLES),
            bits_allocated=allocated,
            bits_stored=fields.integer("bits_stored", least=1, most=allocated),
            signed=fields.flag("signed"),
            colour=fields.choice("colour", COLOURS),
            lossy=fields.flag("lossy"),
            decoder=fields.text("decoder", DECODER_PATTERN),
            frames=tuple(_digest(item) for item in fields.items("frames", most=MAX_FRAMES)),
        )
        if not pixels.frames:
            raise Malformed("frame digests field 'frames'", "names no frame")
        return pixels


@dataclass(frozen=True)
class FrameStatement:
    """The pixels of one stored object, as the centre decoded them at `made`.

    `record_sha256` names the signed capture record, `dataset_sha256` the data set that was decoded; both are of the
    object, so the statement is about no other image.
    """

    object_id: ObjectId
    record_sha256: bytes
    dataset_sha256: bytes
    transfer_syntax: str
    made: datetime
    pixels: Pixels

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "object": str(self.object_id),
                "record_sha256": self.record_sha256.hex(),
                "dataset_sha256": self.dataset_sha256.hex(),
                "transfer_syntax": self.transfer_syntax,
                "made": clock.text(self.made),
                **self.pixels.json(),
            }
        )

    @classmethod
    def parse(cls, payload: bytes) -> "FrameStatement":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, "frame digests"), "frame digests")
        fields.version()
        statement = cls(
            object_id=ObjectId.parse(fields.text("object")),
            record_sha256=fields.hex("record_sha256", 32),
            dataset_sha256=fields.hex("dataset_sha256", 32),
            transfer_syntax=fields.text("transfer_syntax", UID_PATTERN, max_chars=64),
            made=fields.instant("made"),
            pixels=Pixels.parse(fields),
        )
        fields.done()
        return statement


def sign_frames(statement: FrameStatement, signer: EvidenceSigner) -> bytes:
    return sign_statement(signer, Label.FRAMES, statement.encode())


def verify_frames(signed: bytes, key: EvidencePublicKey) -> FrameStatement:
    """Return the statement once the centre's signature holds. Raises Malformed, WrongSigner, SignatureInvalid."""
    return FrameStatement.parse(verify_statement(signed, Label.FRAMES, key))


def _digest(item: Json) -> bytes:
    return Fields({"frame": item}, "frame digests").hex("frame", 32)
