"""A visit as it might have ended, signed by a host that an authority certified."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from provisioning.finding import Finding, Verdict
from provisioning.handover.report import HandOver, SignedHandOver, sign
from provisioning.outcome import Outcome, in_order
from shared.fleet.keys import KeyProtection
from shared.identity import CONTROL_PLANE, HostId, ObjectId
from shared.self_test.exchange import CentresWord, Comparison, SelfTestAnswer, sign_answer
from shared.signing import SoftwareSigner
from tests.fakes.centre import Authority

AUTHORITY = Authority()
NOW = AUTHORITY.certificate.not_valid_before_utc.replace(tzinfo=UTC) + timedelta(hours=2)
HOST, OBJECT = HostId(bytes(range(16))), ObjectId(bytes(16))
SWAP = Finding("swap-encryption", Verdict.FAIL, "sda3 is swap and not encrypted", "swapoff -a, and encrypt it")
PORTS = Finding("modality-ports", Verdict.NOT_EVALUATED, "this is a box beside the modality")
KERNEL = Finding("kernel", Verdict.PASS, "6.1.0")
OPENED = Finding("phantom-opened", Verdict.PASS, "the centre opened it and signed that it is equal")


def new_signer() -> SoftwareSigner:
    return SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))


def certified(name: str, signer: SoftwareSigner, authority: Authority = AUTHORITY) -> str:
    return authority.issue(name, "evidence", signer.public.key).decode()


CENTRE, SIGNER = new_signer(), new_signer()


def word(
    host: HostId = HOST,
    comparison: Comparison = Comparison.EQUAL,
    signer: SoftwareSigner = CENTRE,
    certificate: str | None = None,
    opened: datetime = NOW,
) -> CentresWord:
    answer = SelfTestAnswer(bytes(32), host, OBJECT, bytes(32), opened, comparison)
    return CentresWord(sign_answer(answer, signer), certificate or certified(CONTROL_PLANE, signer))


def visit(findings: Sequence[Finding] = (SWAP, PORTS, KERNEL), said: CentresWord | None = None) -> HandOver:
    made = (
        Outcome("preflight", NOW, tuple(findings)),
        Outcome("self-test", NOW, (OPENED,), said),
    )
    return HandOver(
        HOST, "CT 二号机房 1.14", NOW, "王小明", "Ada Løvelace", {"agent": "0.1.0", "guard": "0.1.0"},
        KeyProtection.TPM, datetime(2030, 1, 1, tzinfo=UTC), {"organisation": 12, "site-north": 3}, in_order(made),
    )  # fmt: skip


def signed(report: HandOver | None = None, *, name: str = str(HOST)) -> SignedHandOver:
    return sign(report or visit(said=word()), SIGNER, certified(name, SIGNER))
