"""The part of an agent that takes images in, on a folder of its own, under a policy of its own."""

import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.receivers import AE_TITLE
from edge_agent.audit.journal import Journal
from edge_agent.capture.pipeline import CapturePipeline
from edge_agent.capture.registrar import GroupRegistrar
from edge_agent.capture.stock import Stock
from edge_agent.capture.store import CaptureStore
from edge_agent.courtesy import STOCK, Courtesy
from edge_agent.database import Database
from edge_agent.examination import Examination
from edge_agent.log import JsonLog
from shared.clock import SystemClock
from shared.identity import HostId
from shared.policy.document import KeyPurpose, Modality, PolicyDocument, SealingKey
from shared.policy.grading import Grading
from shared.sealing.hpke import SealingPrivateKey
from shared.signing import SoftwareSigner

# As many segments as a run of 500 images fills, and some more. An agent writes them in the pauses between examinations.
SPARES = 16


@dataclass(frozen=True)
class Host:
    host_id: HostId
    policy: PolicyDocument
    database: Database
    journal: Journal
    log: JsonLog
    pipeline: CapturePipeline


def host_in(folder: Path, *, in_stock: bool = True) -> Host:
    """Return a host after a pause: with segments written and, if `in_stock`, encapsulations made in advance.

    Its registrar and its stock run until the process ends.
    """
    signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    policy, host_id, clock = _policy(signer), HostId.new(), SystemClock()
    database, log = Database(folder / "agent.sqlite"), JsonLog(clock)
    journal = Journal(database, host_id, key=lambda: policy.key_for(KeyPurpose.AUDIT), clock=clock)
    captures = CaptureStore(folder / "spool", database, journal, signer.public)
    captures.recover(host_id, log)
    for _ in range(SPARES):
        captures.spool.segments.prepare()
    registrar = GroupRegistrar(captures.entries, log)
    threading.Thread(target=registrar.run, args=(threading.Event(),), daemon=True).start()
    examination = Examination()
    stock = Stock(Courtesy(examination.ends_in_s, STOCK).yield_to_it)
    if in_stock:
        stock.fill([policy.key_for(KeyPurpose.DATA, policy.default_grade), policy.key_for(KeyPurpose.INDEX)])
        threading.Thread(target=stock.run, args=(threading.Event(),), daemon=True).start()
    pipeline = CapturePipeline(
        host_id=host_id,
        sop_hash_key=bytes(32),
        signer=signer,
        policy=lambda: policy,
        spool=captures.spool,
        claims=captures.claims,
        registrar=registrar,
        journal=journal,
        clock=clock,
        examination=examination,
        boxes=stock.boxes if in_stock else lambda key: key,
    )
    return Host(host_id, policy, database, journal, log, pipeline)


def _policy(signer: SoftwareSigner) -> PolicyDocument:
    def sealing_key(purpose: KeyPurpose, grade: str = "") -> SealingKey:
        return SealingKey(purpose, grade, 1, SealingPrivateKey(secrets.token_bytes(32)).public)

    keys = (sealing_key(KeyPurpose.DATA, "restricted"), sealing_key(KeyPurpose.INDEX), sealing_key(KeyPurpose.AUDIT))
    modalities = (Modality(AE_TITLE, ""),)
    return PolicyDocument("organisation", 1, modalities, keys, signer.public, Grading("restricted"), 60, 3600)
