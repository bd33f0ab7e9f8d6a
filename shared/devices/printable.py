"""Text from devices, made fit to be shown, logged and compared."""

import re

# Controls, line and paragraph separators, bidirectional overrides and isolates, surrogates: what could forge a line
# or show one name as another.
_UNFIT = r"\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb"
_ONE_UNFIT = re.compile(f"[{_UNFIT}]")
# One character that may be shown as it is, in a pattern for whoever takes no other.
FIT = f"[^{_UNFIT}]"


def printable(text: str, most_chars: int) -> str:
    """Return `text` as one line of at most `most_chars` characters, each unfit one replaced by U+FFFD."""
    return _ONE_UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)[:most_chars]
