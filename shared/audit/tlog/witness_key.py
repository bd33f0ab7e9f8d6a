"""Which key a host cosigns checkpoints with, in the word of its evidence key.

    statement = signed statement (label WITNESS_KEY) over canonical JSON {"v": 1, "host": host id, "vkey": C2SP vkey}

The key's name is `leadglass/host/` and the host id, its type that of cosignatures, so one key cosigns and nothing else.
"""

from shared import canonical
from shared.audit.tlog.keys import KeyType, NoteKey
from shared.errors import Malformed
from shared.fields import Fields
from shared.identity import HostId
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

_NAME = "leadglass/host/"


def witness_name(host_id: HostId) -> str:
    return f"{_NAME}{host_id}"


def sign_witness_key(signer: EvidenceSigner, host_id: HostId, key: NoteKey) -> bytes:
    payload = canonical.encode({"v": 1, "host": str(host_id), "vkey": key.vkey})
    return sign_statement(signer, Label.WITNESS_KEY, payload)


def verify_witness_key(statement: bytes, host_id: HostId, key: EvidencePublicKey) -> NoteKey:
    """Return the key that the evidence key of `host_id` names. Raises Malformed, WrongSigner, SignatureInvalid."""
    fields = Fields(canonical.parse(verify_statement(statement, Label.WITNESS_KEY, key), "witness key"), "witness key")
    fields.version()
    host, named = HostId.parse(fields.text("host")), NoteKey.parse(fields.text("vkey"))
    fields.done()
    if host != host_id or (named.name, named.type) != (witness_name(host_id), KeyType.COSIGNATURE):
        raise Malformed("witness key", f"not one of cosignatures by the name of {host_id}")
    return named
