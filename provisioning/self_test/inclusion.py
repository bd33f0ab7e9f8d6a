"""Whether the host's record of the capture stands in the centre's log, proved and not only said."""

from edge_agent.https import DoorUnavailable
from provisioning.finding import Finding, Verdict
from provisioning.self_test.centre import Centre
from provisioning.self_test.image import said
from provisioning.self_test.patience import Patience
from shared.audit.tlog.log_key import offered_key
from shared.audit.tlog.proof_text import Included, ProofText, verify_inclusion
from shared.enrolment.chain import Trust
from shared.errors import IntegrityFailure, Refused, Unavailable

CHECK = "inclusion-proof"
_FIX = "an administrator looks at `leadglass-server audit verify`"


def judge_inclusion(leaf: bytes | None, centre: Centre, trust: Trust, patience: Patience) -> Finding:
    """`leaf` is that of the record of the phantom's capture, None where none was captured."""
    if leaf is None:
        return Finding(CHECK, Verdict.NOT_EVALUATED, "no phantom was captured, so there is no record to look for")
    try:
        # Until the record has arrived there and is entered.
        text = patience.until_answered(lambda: centre.inclusion(leaf), DoorUnavailable)
        included = proved(text, leaf, trust)
    except Unavailable as exc:
        return Finding(CHECK, Verdict.NOT_EVALUATED, said(exc), "make the centre's hosts door reachable")
    except (Refused, IntegrityFailure) as exc:
        return Finding(CHECK, Verdict.FAIL, said(exc), _FIX)
    why = f"the record of the capture is entry {included.index} of the centre's log, which has {included.head.size}"
    return Finding(CHECK, Verdict.PASS, why)


def proved(text: str, leaf: bytes, trust: Trust) -> Included:
    """Return where the log has `leaf`, under a key that the centre vouches for with its own certificate.

    Raises Malformed, NotTheCentresKey, WrongSigner, SignatureInvalid, NoteUnverified, ProofWrong.
    """
    return verify_inclusion(text, leaf, [offered_key(ProofText.parse(text).extra, trust)])
