"""Run benchmarks: `python -m benchmarks [NAME]`, or `make bench B=NAME`."""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from benchmarks import (
    audit_https,
    audit_log,
    audit_scale,
    deciding,
    delaying,
    delivering,
    durable,
    guarding,
    holding,
    host_budget,
    pushing,
    receiving,
    rolling_out,
    sealing,
    wiping,
)
from benchmarks.measure import PeerMissing


class Shown(Protocol):
    def markdown(self) -> str: ...
    def json(self) -> dict[str, object]: ...


class Benchmark(Protocol):
    def run(self, *, rounds: int, images: int, folder: Path | None) -> Iterable[Shown]: ...


BENCHMARKS: dict[str, Benchmark] = {
    "audit-https": audit_https,
    "audit-log": audit_log,
    "audit-scale": audit_scale,
    "deciding": deciding,
    "delaying": delaying,
    "delivering": delivering,
    "durable": durable,
    "guarding": guarding,
    "holding": holding,
    "host-budget": host_budget,
    "pushing": pushing,
    "receiving": receiving,
    "rolling-out": rolling_out,
    "sealing": sealing,
    "wiping": wiping,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, each number beside its peer's.")
    parser.add_argument("name", nargs="?", choices=sorted(BENCHMARKS), help="only this one")
    parser.add_argument(
        "--runs", type=int, default=5, help="rounds; each measures everything once (default %(default)s)"
    )
    parser.add_argument("--images", type=int, default=500, help="images in a round (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to put the files; it decides which disk is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    arguments = parser.parse_args()
    results: dict[str, list[dict[str, object]]] = {}
    for name in [arguments.name] if arguments.name else sorted(BENCHMARKS):
        try:
            results[name] = []
            done = BENCHMARKS[name].run(rounds=arguments.runs, images=arguments.images, folder=arguments.folder)
            for result in done:
                print(result.markdown(), flush=True)
                results[name].append(result.json())
        except PeerMissing as exc:
            print(f"benchmarks: {exc}", file=sys.stderr)
            return 2
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
