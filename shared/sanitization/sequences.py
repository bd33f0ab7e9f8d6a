"""The passes of each sequence, each "random" or a byte of two hex digits, as a report has them.

Those of BMB21-2019 and of DoD 5220.22-M short are what nwipe writes (`nwipe_bmb`, `nwipe_dodshort`) without the last
pass of zeros, which it adds to every method and leaves out on `--noblank`.
"""

from collections.abc import Sequence as Listed

from shared.sanitization.method import Method
from shared.sanitization.stream import RANDOM
from shared.sanitization.technique import Sequence

_ZEROS, _ONES = "00", "ff"
_FIXED = {
    Sequence.RANDOM: (RANDOM,),
    Sequence.ZERO: (_ZEROS,),
    Sequence.THREE_PASS: (_ZEROS, _ONES, RANDOM),
    Sequence.BMB21: (_ONES, _ZEROS, RANDOM, RANDOM, RANDOM, _ONES),
}


def passes(method: Method, character: int) -> tuple[str, ...]:
    """Return what `method` writes, in order. `character` is the byte that the DoD's sequence draws by chance."""
    match method.sequence:
        case Sequence.CUSTOM:
            return method.passes
        case Sequence.DOD_SHORT:
            return (f"{character:02x}", f"{character ^ 0xFF:02x}", RANDOM)
        case _:
            return _FIXED[method.sequence]


def is_run(method: Method, patterns: Listed[str]) -> bool:
    """Whether `patterns` are all passes of `method` in order, whichever byte was drawn."""
    return any(tuple(patterns) == passes(method, character) for character in range(256))
