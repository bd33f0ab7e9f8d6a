"""Makes the scenarios of docs/formats/canonical-json.md: `parse`."""

from tests.vectors.given import Files, as_file, b64

_LARGEST = 2**53 - 1
_GOOD = {
    "object": ("An object with sorted keys.", '{"a":1,"b":[true,false,null],"c":{"d":"e"}}'),
    "empty-object": ("An empty object.", "{}"),
    "empty-list": ("An empty list.", "[]"),
    "text": ("Text by itself.", '"text"'),
    "unicode": ("Characters beyond ASCII stand unescaped.", '{"name":"Müller 向量 😀"}'),
    "escapes": (
        "The two-character escapes, and lower-case \\u for the other controls.",
        '"\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f"',
    ),
    "delete": ("U+007F and U+2028 stand unescaped.", '"\x7f\u2028"'),
    "largest": ("The largest and the smallest number.", f"[{_LARGEST},-{_LARGEST}]"),
    "zero": ("Zero.", "0"),
    "deepest": ("32 lists around a number.", "[" * 32 + "0" + "]" * 32),
    "empty-key": ("An empty key.", '{"":0}'),
    "key-order": ("Upper case before lower case, digits before both.", '{"1":0,"A":0,"a":0,"aa":0}'),
}
_BAD = {
    "unsorted": ("Keys out of order.", '{"b":1,"a":1}'),
    "duplicate-key": ("A key twice.", '{"a":1,"a":1}'),
    "white-space": ("A space after a colon.", '{"a": 1}'),
    "line-break-at-the-end": ("A line break at the end.", '{"a":1}\n'),
    "fraction": ("A number with a fraction.", "[1.0]"),
    "exponent": ("A number with an exponent.", "[1e2]"),
    "minus-zero": ("Minus zero.", "[-0]"),
    "leading-zero": ("A leading zero.", "[01]"),
    "too-large": ("2**53.", f"[{_LARGEST + 1}]"),
    "too-small": ("-(2**53).", f"[{-_LARGEST - 1}]"),
    "five-thousand-digits": ("A number of 5,000 digits.", "[" + "9" * 5000 + "]"),
    "not-a-number": ("NaN.", "[NaN]"),
    "infinity": ("Infinity.", "[-Infinity]"),
    "escaped-ascii": ("A character escaped that need not be.", '"\\u0041"'),
    "escaped-unicode": ("A character beyond ASCII escaped.", '"\\u00fc"'),
    "escaped-slash": ("A slash escaped.", '"\\/"'),
    "upper-case-escape": ("An escape in upper case.", '"\\u001F"'),
    "long-escape": ("\\u000a where \\n would do.", '"\\u000a"'),
    "lone-surrogate": ("Half of a surrogate pair.", '"\\ud800"'),
    "surrogate-pair": ("A surrogate pair where the character itself would do.", '"\\ud83d\\ude00"'),
    "control-character": ("A raw control character.", '"\x01"'),
    "key-not-ascii": ("A key beyond ASCII.", '{"ü":1}'),
    "too-deep": ("33 lists around a number.", "[" * 33 + "0" + "]" * 33),
    "very-deep": ("100,000 lists.", "[" * 100_000),
    "two-values": ("Two values.", "{}{}"),
    "byte-order-mark": ("A byte-order mark.", "\ufeff{}"),
    "comment": ("A comment.", "{}//"),
    "trailing-comma": ("A comma before the bracket.", "[1,]"),
    "single-quotes": ("Single quotes.", "{'a':1}"),
    "cut": ("An object without its end.", '{"a":1'),
    "empty": ("No bytes.", ""),
}
_NOT_TEXT = {
    "not-utf-8": ("Bytes that are not UTF-8.", b'"\xff"'),
    "overlong-utf-8": ("A slash in an overlong encoding.", b'"\xc0\xaf"'),
    "encoded-surrogate": ("A surrogate in UTF-8.", b'"\xed\xa0\x80"'),
    "utf-16": ("UTF-16.", "{}".encode("utf-16-le")),
}


def scenarios() -> Files:
    good = {f"ok-{name}": (about, text.encode(), {"result": "parsed"}) for name, (about, text) in _GOOD.items()}
    refusal = {"result": "refused", "error": "Malformed"}
    bad = {f"bad-{name}": (about, text.encode(), refusal) for name, (about, text) in _BAD.items()}
    bad |= {f"bad-{name}": (about, data, refusal) for name, (about, data) in _NOT_TEXT.items()}
    return {
        f"canonical-json/{name}.json": as_file(
            {"about": about, "kind": "parse", "given": {"bytes_base64": b64(data)}, "expect": expect}
        )
        for name, (about, data, expect) in (good | bad).items()
    }
