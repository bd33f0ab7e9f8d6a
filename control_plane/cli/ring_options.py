"""The options of a roll-out's rings, which several commands have. Imported with every command, so it imports little."""

import argparse
import re

_SPAN = re.compile(r"(0|[1-9][0-9]{0,5})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_ring_options(parser: argparse.ArgumentParser) -> None:
    """Any of these makes a publication a roll-out; what is not given has no value yet."""
    rings = parser.add_argument_group("to be rolled out in rings, and to everybody at the end")
    rings.add_argument("--canary", action="append", default=[], metavar="HOST", help="asset or host id; the first ring")
    rings.add_argument("--ring", action="append", default=[], metavar="RING", help="then 10%%, or site-NAME, in turn")
    rings.add_argument("--soak", type=_span, metavar="SPAN", help="how long each ring is watched [30m]")
    rings.add_argument("--healthy", type=_percent, metavar="N", help="percent that have to be healthy [90]")
    rings.add_argument("--abort-at", type=_percent, metavar="N", help="percent that failed, which ends it [5]")
    rings.add_argument("--on-abort", choices=("revert", "pause"), help="what happens then [revert]")
    rings.add_argument(
        "--quiet", type=_span, metavar="SPAN", help="how long a host may say nothing new [by the policy]"
    )


def _span(text: str) -> int:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError("expected a length of time, such as 90s, 30m, 2h or 1d")
    return int(found[1]) * _SECONDS[found[2]]


def _percent(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= (percent := int(text[:4])) <= 100:
        raise argparse.ArgumentTypeError("expected a percentage from 1 to 100")
    return percent
