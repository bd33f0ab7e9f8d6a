"""What this host is: its programs, its identity, what keeps its keys, its clock."""

from datetime import datetime, timedelta

from cryptography import x509

from edge_agent.host_watch.observations import KernelClock
from provisioning.finding import Finding, Verdict
from shared.clock import text
from shared.fleet.keys import KeyProtection

CERTIFICATE, KEYS, CLOCK = "certificate", "keys", "clock"
_MOST_APART = timedelta(seconds=5)
_LEAST_LEFT = timedelta(days=1)


def judge_certificate(certificate: x509.Certificate, now: datetime) -> Finding:
    ends = certificate.not_valid_after_utc
    if ends <= now:
        return Finding(CERTIFICATE, Verdict.FAIL, f"expired at {text(ends)}", "see the guide, `A host that was off`")
    if ends - now < _LEAST_LEFT:
        why = f"ends at {text(ends)} and was not renewed"
        return Finding(CERTIFICATE, Verdict.FAIL, why, "see the agent's log: journalctl -u leadglass-agent")
    return Finding(CERTIFICATE, Verdict.PASS, f"valid until {text(ends)}")


def judge_keys(protection: KeyProtection) -> Finding:
    """Opened they were, or nobody could have asked the centre anything."""
    return Finding(KEYS, Verdict.PASS, f"private keys opened; kept in {protection.in_words}")


def judge_clock(kernel: KernelClock | None, why: str, ahead: timedelta | None) -> Finding:
    """`ahead` is how far the clock is ahead of the centre's, give or take a second; `why` the kernel says nothing."""
    if ahead is None:
        return Finding(CLOCK, Verdict.NOT_EVALUATED, "the centre did not say what time it is", "")
    if abs(ahead) > _MOST_APART:
        fix = "set the clock, and have it follow the hospital's time server"
        return Finding(CLOCK, Verdict.FAIL, f"{ahead.total_seconds():.0f} s ahead of the centre's", fix)
    within = f"within {_MOST_APART.seconds} s of the centre's"
    if kernel is None:
        return Finding(CLOCK, Verdict.NOT_EVALUATED, f"{within}; whether it is kept is not known: {why}")
    if not kernel.is_synchronised:
        fix = "have it follow the hospital's time server: timedatectl set-ntp true"
        return Finding(CLOCK, Verdict.FAIL, f"{within}, and nothing keeps it", fix)
    return Finding(CLOCK, Verdict.PASS, f"{within}, and kept in step")
