"""Takes the signed file out of a PDF, which somebody else made and nobody has looked at."""

from io import BytesIO

from provisioning.handover.report import ATTACHMENT
from shared.errors import Malformed

MAX_PDF_BYTES = 4 << 20
_WHAT = "hand-over PDF"


def is_pdf(data: bytes) -> bool:
    return data.startswith(b"%PDF-")


def attached_report(data: bytes) -> bytes:
    """Return the attachment's bytes; nothing of them is believed. Raises Malformed."""
    from pypdf import PdfReader

    if len(data) > MAX_PDF_BYTES:
        raise Malformed(_WHAT, f"larger than {MAX_PDF_BYTES} bytes")
    try:
        found = [one.content for one in PdfReader(BytesIO(data), strict=True).attachment_list if one.name == ATTACHMENT]
    except Exception as exc:
        raise Malformed(_WHAT, f"it cannot be read: {type(exc).__name__}") from exc
    if len(found) != 1:
        raise Malformed(_WHAT, f"it holds {len(found)} attachments named {ATTACHMENT}, expected one")
    return found[0]
