"""Takes a file out of a PDF, which somebody else made and nobody has looked at."""

from io import BytesIO

from shared.errors import Malformed

MAX_PDF_BYTES = 4 << 20


def is_pdf(data: bytes) -> bool:
    return data.startswith(b"%PDF-")


def attached_file(data: bytes, name: str, what: str) -> bytes:
    """Return the bytes of the one attachment of that name; nothing of them is believed. Raises Malformed."""
    from pypdf import PdfReader

    if len(data) > MAX_PDF_BYTES:
        raise Malformed(what, f"larger than {MAX_PDF_BYTES} bytes")
    try:
        found = [one.content for one in PdfReader(BytesIO(data), strict=True).attachment_list if one.name == name]
    except Exception as exc:
        raise Malformed(what, f"it cannot be read: {type(exc).__name__}") from exc
    if len(found) != 1:
        raise Malformed(what, f"it holds {len(found)} attachments named {name}, expected one")
    return found[0]
