"""What a host tells of itself when it is asked: numbers, versions and names of ours, and nothing of any patient.

Of log lines only the names of events are told: their fields say why something failed, in words that are meant for
whoever stands before the machine.
"""

import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from edge_agent import SOFTWARE
from edge_agent.audit.journal import Journal
from edge_agent.commands.isolation import Isolation
from edge_agent.log import RecentLog
from edge_agent.policy_sync.store import PolicyStore
from edge_agent.spool.spool import Spool
from shared import clock as clocks
from shared.audit.events import Event
from shared.audit.record import readable
from shared.clock import Clock
from shared.fleet.command import Fact
from shared.fleet.state import FolderState

_MOST_ERROR_CHARS = 300


@dataclass(frozen=True)
class Diagnostics:
    """Reads each part as it is now."""

    disk: Path
    store: PolicyStore
    spool: Spool
    journal: Journal
    isolation: Isolation
    clock: Clock
    log: RecentLog
    is_listening: Callable[[], bool]
    policy_error: Callable[[], str]
    certificate: Callable[[], x509.Certificate]
    folders: Callable[[], tuple[FolderState, ...]]

    def read(self, events: int) -> Mapping[str, Fact]:
        """Raises DatabaseUnavailable, DatabaseDamaged."""
        disk, certificate = shutil.disk_usage(self.disk), self.certificate()
        held, in_force = self.store.held(), self.store.in_force_versions()
        accepted = {layer: held[layer].version if layer in held else 0 for layer in self.store.layers}
        organisation, *parts = self.store.layers
        error = self.policy_error()
        return {
            "software": SOFTWARE,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "clock": clocks.text(self.clock.now()),
            "policy_accepted": accepted[organisation],
            "policy_in_force": in_force.get(organisation, 0),
            "policy_layers": [f"{part}: accepted {accepted[part]}, in force {in_force.get(part, 0)}" for part in parts],
            "policy_error": readable(error, _MOST_ERROR_CHARS) if error else "",
            "listening": self.is_listening(),
            "isolated": self.isolation.is_isolated(),
            "certificate_serial": f"{certificate.serial_number:x}",
            "certificate_expires": clocks.text(certificate.not_valid_after_utc),
            "spool_objects": self.spool.waiting(),
            "spool_bytes": self.spool.held_bytes(),
            "spool_quota_bytes": self.store.spool_quota_bytes(),
            "spool_damaged": self.spool.amiss(),
            "captured": self.journal.count(Event.IMAGE_CAPTURED),
            "delivered": self.journal.count(Event.IMAGE_DELIVERED),
            "audit_waiting": self.journal.waiting(),
            "disk_free_bytes": disk.free,
            "disk_total_bytes": disk.total,
            "export_folders": [
                f"{folder.ae_title}: on {folder.lies_on}, {folder.waiting} waiting" for folder in self.folders()
            ],
            "events": self.log.recent(events),
        }
