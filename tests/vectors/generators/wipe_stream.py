"""Makes the scenarios of docs/formats/wipe-stream.md: `pass-content` and `samples`."""

from hashlib import sha256
from typing import Any

from shared.sanitization.sampling import places
from shared.sanitization.stream import Content
from tests.vectors.given import Files, Scenario, as_file, bytes_of

_SEED, _SAMPLES = bytes_of("wipe seed", 32), bytes_of("sample seed", 32)
_LAST_OF_4_TB = 7_814_037_167


def scenarios() -> Files:
    made = {**_contents(), **_refused(), **_samples()}
    return {f"wipe-stream/{name}.json": as_file(scenario) for name, scenario in made.items()}


def _contents() -> dict[str, Scenario]:
    random, zeros = Content.random(_SEED), Content.byte("00")
    good = {
        "first": ("The first sector of a random pass.", random, 0, 512),
        "last": ("The last sector of 4 TB.", random, _LAST_OF_4_TB * 512, 512),
        "within": ("Three bytes across two blocks of the stream.", random, 31, 3),
        "zeros": ("A sector of zeros.", zeros, 4096, 512),
        "byte": ("A sector of another byte.", Content.byte("a5"), 0, 512),
    }
    found: dict[str, Scenario] = {}
    for name, (about, content, offset, size) in good.items():
        into = bytearray(size)
        content.source().fill(offset, memoryview(into))
        commitment = None if content.commitment is None else content.commitment.hex()
        expect = {"result": "made", "commitment": commitment, "data_hex": bytes(into).hex()}
        found[f"content-ok-{name}"] = _content(about, content.json(), offset, size, expect)
    return found


def _refused() -> dict[str, Scenario]:
    seed = _SEED.hex()
    bad: dict[str, tuple[str, dict[str, Any]]] = {
        "random-without-seed": ("A random pattern without a seed.", {"pattern": "random", "seed": None}),
        "byte-with-seed": ("A byte with a seed.", {"pattern": "00", "seed": seed}),
        "short": ("A seed of 31 bytes.", {"pattern": "random", "seed": seed[:-2]}),
        "long": ("A seed of 33 bytes.", {"pattern": "random", "seed": seed + "00"}),
        "upper-case-seed": ("A seed in upper case.", {"pattern": "random", "seed": seed.upper()}),
        "upper-case-byte": ("A byte in upper case.", {"pattern": "FF", "seed": None}),
        "digit": ("A byte of one digit.", {"pattern": "0", "seed": None}),
        "two-bytes": ("Two bytes.", {"pattern": "00ff", "seed": None}),
        "empty": ("No pattern.", {"pattern": "", "seed": None}),
        "number": ("A number.", {"pattern": 0, "seed": None}),
        "seed-missing": ("Nothing said of a seed.", {"pattern": "00"}),
        "member-more": ("A member more.", {"pattern": "00", "seed": None, "x": 0}),
    }
    refusal = {"result": "refused", "error": "Malformed"}
    return {f"content-bad-{name}": _content(about, content, 0, 512, refusal) for name, (about, content) in bad.items()}


def _content(about: str, content: object, offset: int, size: int, expect: object) -> Scenario:
    given = {"content": content, "offset": offset, "size": size}
    return {"about": about, "kind": "pass-content", "given": given, "expect": expect}


def _samples() -> dict[str, Scenario]:
    sizes = {
        "whole": ("21 sectors are read whole.", 21 * 512, 512),
        "two-sections": ("42 sectors have two sections.", 42 * 512, 512),
        "large-sectors": ("3 TB in sectors of 4,096 bytes.", 3_000_592_982_016, 4096),
    }
    found: dict[str, Scenario] = {}
    for name, (about, size, sector) in sizes.items():
        where = [[one.first, one.count] for one in places(_SAMPLES, size, sector)]
        given = {"sample_seed_hex": _SAMPLES.hex(), "size_bytes": size, "sector_bytes": sector}
        expect = described(where)
        found[f"samples-ok-{name}"] = {"about": about, "kind": "samples", "given": given, "expect": expect}
    return found


def described(where: list[list[int]]) -> dict[str, Any]:
    """Return the places, or their digest where there are many."""
    text = " ".join(f"{first}+{count}" for first, count in where)
    shown = {"places": text} if len(where) <= 6 else {"places_sha256": sha256(text.encode()).hexdigest()}
    return {"result": "chosen", "sectors": sum(count for _, count in where), "samples": len(where), **shown}
