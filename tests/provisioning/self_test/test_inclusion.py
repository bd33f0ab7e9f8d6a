"""A proof counts only for the very record, under a key that the centre vouches for."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from provisioning.self_test.inclusion import proved
from shared.audit.tlog.checkpoint import TreeHead, sign_checkpoint
from shared.audit.tlog.keys import NoteSigner
from shared.audit.tlog.log_key import LogKeyOffer, sign_log_key
from shared.audit.tlog.proof_text import ProofText
from shared.audit.tlog.proofs import ProofWrong
from shared.audit.tlog.tree import leaf_hash, node_hash
from shared.errors import IntegrityFailure, Refused
from shared.identity import CONTROL_PLANE
from shared.signing import SoftwareSigner
from tests.fakes.centre import Authority
from tests.provisioning.handover.made import AUTHORITY, CENTRE, HOST, SIGNER, certified, new_signer

LEAF, OTHER = leaf_hash(b"the capture"), leaf_hash(b"another record")
LOG = NoteSigner("centre.example/log", Ed25519PrivateKey.generate())


def proof(
    signer: SoftwareSigner = CENTRE, certificate: str | None = None, log: NoteSigner = LOG, index: int = 1
) -> str:
    """Return what the centre would answer of a log that holds the other record and then this one."""
    head = TreeHead(LOG.public.name, 2, node_hash(OTHER, LEAF))
    offer = LogKeyOffer(sign_log_key(signer, LOG.public), certificate or certified(CONTROL_PLANE, signer))
    return ProofText(index, (OTHER,), sign_checkpoint(head, log), offer.encode()).encode()


def test_a_record_is_proved_to_be_where_the_log_has_it() -> None:
    """Keep this as the control of what is refused below."""
    assert (proved(proof(), LEAF, AUTHORITY.trust).index, LEAF != OTHER) == (1, True)


_LIAR = new_signer()


@pytest.mark.parametrize(
    "text",
    [
        proof(index=0),
        proof(log=NoteSigner(LOG.public.name, Ed25519PrivateKey.generate())),
        proof(SIGNER, certified(str(HOST), SIGNER)),
        proof(_LIAR, certified(CONTROL_PLANE, _LIAR, Authority())),
        proof().replace("index 1", "index 2"),
        "",
    ],
    ids=["another place", "another log", "a host's word", "another authority", "beyond the end", "nothing"],
)
def test_any_other_proof_is_refused(text: str) -> None:
    with pytest.raises((Refused, IntegrityFailure)):
        proved(text, LEAF, AUTHORITY.trust)


def test_a_proof_of_another_record_proves_nothing_of_this_one() -> None:
    with pytest.raises(ProofWrong):
        proved(proof(), OTHER, AUTHORITY.trust)
