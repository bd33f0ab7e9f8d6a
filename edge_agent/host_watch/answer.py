"""What `edge_agent.host_watch.child` prints.  The form is drawn there."""

from shared import canonical
from shared.errors import Malformed
from shared.fields import Fields
from shared.fleet.devices import MAX_FINDINGS, Finding

MAX_BYTES = 256 * 1024


def encode(findings: tuple[Finding, ...]) -> bytes:
    return canonical.encode({"v": 1, "findings": [finding.json() for finding in findings]})


def parse(line: bytes) -> tuple[Finding, ...]:
    """Raises Malformed."""
    what = "answer about the host"
    if len(line) > MAX_BYTES:
        raise Malformed(what, f"larger than {MAX_BYTES} bytes")
    fields = Fields(canonical.parse(line.removesuffix(b"\n"), what), what)
    fields.version()
    findings = tuple(map(Finding.parse, fields.items("findings", most=MAX_FINDINGS)))
    fields.done()
    return findings
