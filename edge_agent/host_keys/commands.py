"""`leadglass-agent enrol --keys` and `keys move`: which protection a host's keys get, and how they get another one."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing

from edge_agent.agent import locked
from edge_agent.audit.journal import Journal
from edge_agent.beside import account
from edge_agent.config import AgentFolder, load_enrolment, load_identity
from edge_agent.database import Database
from edge_agent.files import make_folder
from edge_agent.host_keys.choose import Chosen, choose
from edge_agent.host_keys.erase import MAY_REMAIN
from edge_agent.host_keys.move import KeyMove
from edge_agent.host_keys.store import vault_of
from edge_agent.host_keys.vault import KeyName, KeyVault
from edge_agent.log import JsonLog
from edge_agent.policy_sync.store import StoredPolicy
from shared.audit.events import Participant
from shared.clock import Clock
from shared.errors import Unavailable
from shared.fleet.keys import KeyProtection

ENDS = (
    "a new mainboard or a cleared TPM ends these keys for good; before either, let the host deliver, or move them "
    "to a file"
)
Vaults = Callable[[KeyProtection], KeyVault]


def choose_protection(asked: str, vault: Vaults = vault_of) -> Chosen:
    """Try the TPM where that can matter. Raises KeyVaultUnavailable: it was asked for by name and does not serve."""
    return choose(asked, None if asked == KeyProtection.FILE else _tpm_fault(vault(KeyProtection.TPM)))


def _tpm_fault(vault: KeyVault) -> Unavailable | None:
    try:
        vault.wrap(KeyName.TLS, secrets.token_bytes(32))  # which proves that it opens again
    except Unavailable as exc:
        return exc
    return None


def move_keys(folder: AgentFolder, to: KeyProtection, clock: Clock, vault: Vaults = vault_of) -> Iterator[str]:
    """Move the keys in an agent's folder; yield what to tell.

    Raises NotEnrolled, AlreadyRunning, what `KeyMove` raises, and what a key that does not open raises.
    """
    load_enrolment(folder)
    with locked(folder):
        config = load_identity(folder, vault).config
        make_folder(folder.database.parent)
        with closing(Database(folder.database)) as database:
            policy = StoredPolicy(database, config.layers, config.host_id, JsonLog(clock))
            journal = Journal(database, config.host_id, key=policy.audit_key, clock=clock)
            who = (Participant("person", account(), True), Participant("host", str(config.host_id), False))
            move = KeyMove(folder.identity, config, vault, journal, who)
            erased = move.finish()
            if config.keys is to:
                yield f"the keys were there already: {to.in_words}"
            else:
                erased = move.move(to)
                yield f"keys: {to.in_words}"
                if to is KeyProtection.TPM:
                    yield ENDS
    yield from (f"erased: {file}" for file in erased)
    if erased and to is KeyProtection.TPM:
        yield MAY_REMAIN
