"""What comes from another person who signs: drafts and public keys, as a file that anybody may have edited."""

from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.policy.authoring import make_root_and_targets, new_credential
from control_plane.policy.drafts import Draft, Signatory, missing, tell, verify_draft
from control_plane.policy.exchange import PolicyParts
from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.person_key import PersonKey
from control_plane.policy.proposing import Wish, propose_policy, propose_root
from shared.clock import SystemClock
from shared.policy.document import ORGANISATION, Modality
from shared.policy.grading import Grading
from tests.fuzz.target import Target
from tests.shared import made

_CLOCK = SystemClock()
_POLICY = AuthoredPolicy(ORGANISATION, (Modality("CT1", "a modality"),), Grading("restricted"), 5, 30)


def _drafts() -> tuple[bytes, ...]:
    online, other = (ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(2))
    keys, receipts = made.policy().keys, made.VAULT_SIGNER.public
    person = new_credential(
        person="Ada", role="administrator", url="http://127.0.0.1:1", token="t", sealing_keys=keys, receipt_key=receipts
    )
    root, targets = make_root_and_targets([person.signer], online, _CLOCK)
    parts = PolicyParts((root,), targets, (), keys, receipts, 1)
    policy = propose_policy(_POLICY, parts, person, _CLOCK)
    published = PolicyParts((root,), targets, policy.layers, keys, receipts, 2)
    wish = Wish(add=(PersonKey("Grace", other, "file:grace").key,), threshold=2)
    return policy.encode(), propose_root(wish, published, Signatory(person.signer, person), _CLOCK).encode()


def _draft(data: bytes) -> None:
    draft = Draft.parse(data)
    assert draft.encode() == data, "two encodings of one draft are read"
    verify_draft(draft)
    shown = [*tell(draft), *(need.text for need in missing(draft))]
    assert all(line.isprintable() for line in shown), "a file writes on the terminal what it likes"


def _key(data: bytes) -> None:
    assert PersonKey.parse(data).encode() == data, "two encodings of one key are read"


_KEY = PersonKey("Grace", ec.generate_private_key(ec.SECP256R1()).public_key(), "hsm:2?label=grace").encode()

TARGETS = (Target("draft", _draft, _drafts()), Target("person-key", _key, (_KEY,)))
