"""Whether the host's record of the capture stands in the centre's log, proved and not only said."""

from provisioning.finding import Finding, Verdict

CHECK = "inclusion-proof"


def judge_inclusion(leaf: bytes | None) -> Finding:
    """`leaf` is that of the record of the phantom's capture, None where none was captured."""
    if leaf is None:
        return Finding(CHECK, Verdict.NOT_EVALUATED, "no phantom was captured, so there is no record to look for")
    return Finding(CHECK, Verdict.NOT_EVALUATED, "the centre gives no proof of inclusion yet")
