"""Canonical JSON: one value, one encoding, so that bytes can be hashed and signed.

    object keys sorted, no white space, UTF-8 unescaped, integers only, no duplicate keys

A subset of RFC 8785 (JCS): keys are ASCII, so sorting by code point and by UTF-16 unit agree; numbers are integers
within +-(2**53 - 1), so no floating-point form arises. `parse` accepts exactly what `encode` prints.
"""

import json
from typing import Any, TypeAlias

from shared.errors import Malformed

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"

_LARGEST = 2**53 - 1
_DEEPEST = 32


def encode(value: Json) -> bytes:
    """Print `value` in its one encoding.

    Raises Malformed: a float, a key that is not ASCII, a number beyond 2**53 - 1, a lone surrogate.
    """
    _check(value, 0)
    return _print(value)


def parse(data: bytes, what: str) -> Json:
    """Read what `encode` prints; `what` names the thing in the error.

    Raises Malformed: not JSON, or JSON in another encoding than the canonical one.
    """
    try:
        value: Json = _DECODER.decode(data.decode())
        # Keys of text that is ASCII are, if it prints back, and nothing is nested deeper than it has brackets.
        if not data.isascii() or data.count(b"{") + data.count(b"[") > _DEEPEST:
            _check(value, 0)
        printed = _print(value)
    except (ValueError, RecursionError) as exc:
        raise Malformed(what, "not JSON in UTF-8 without fractions") from exc
    if printed != data:
        raise Malformed(what, "not in canonical form (sorted unique keys, no white space, integers)")
    return value


def _print(value: Json) -> bytes:
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError as exc:
        raise Malformed("canonical JSON", "text holds a lone surrogate") from exc


def _no_float(literal: str) -> Any:
    raise ValueError(f"number with a fraction or exponent: {literal[:20]}")


def _whole(literal: str) -> int:
    value = int(literal)
    if not -_LARGEST <= value <= _LARGEST:
        raise Malformed("canonical JSON", "a int has no place here")
    return value


_DECODER = json.JSONDecoder(parse_float=_no_float, parse_int=_whole, parse_constant=_no_float)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _check(value: object, depth: int) -> None:
    if depth > _DEEPEST:
        raise Malformed("canonical JSON", f"nested deeper than {_DEEPEST}")
    match value:
        case None | bool() | str():
            return
        case int() if -_LARGEST <= value <= _LARGEST:
            return
        case list():
            for item in value:
                _check(item, depth + 1)
        case dict():
            for key, item in value.items():
                if not (isinstance(key, str) and key.isascii()):
                    raise Malformed("canonical JSON", "a key is not ASCII text")
                _check(item, depth + 1)
        case _:
            raise Malformed("canonical JSON", f"a {type(value).__name__} has no place here")
