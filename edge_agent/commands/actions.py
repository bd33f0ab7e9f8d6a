"""What each action does on this host, and what proves that it did."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from edge_agent.commands.diagnostics import Diagnostics
from edge_agent.commands.executor import Do, Done
from edge_agent.commands.isolation import Isolation
from edge_agent.enrol.renewal import CertificateRenewal
from edge_agent.export_folder.asked import Rescan
from edge_agent.export_folder.watcher import ExportFolderWatcher
from edge_agent.policy_sync.relocation import LayerMove
from shared import clock as clocks
from shared.fleet.command import Argument, CommandAction, Fact, Outcome, parts_of

# Other commands wait meanwhile, so none takes longer than this.
_RESCAN_S, _CLOSING_S, _LOOK_S = 120.0, 30.0, 0.1


class HostActions:
    """`is_listening` says whether modalities can send, `is_serving` whether anything of what they sent is under way.

    `start_anew` has the agent end its run in order, which keeps and tells this result first, and begin another.
    """

    def __init__(
        self,
        *,
        diagnostics: Diagnostics,
        renewal: CertificateRenewal,
        watchers: Sequence[ExportFolderWatcher],
        isolation: Isolation,
        is_listening: Callable[[], bool],
        is_serving: Callable[[], bool],
        layers: LayerMove,
        start_anew: Callable[[], None],
        rescan_s: float = _RESCAN_S,
        closing_s: float = _CLOSING_S,
    ) -> None:
        self._diagnostics, self._renewal, self._watchers = diagnostics, renewal, watchers
        self._isolation, self._is_listening, self._is_serving = isolation, is_listening, is_serving
        self._layers, self._start_anew = layers, start_anew
        self._rescan_s, self._closing_s = rescan_s, closing_s

    def all(self) -> Mapping[CommandAction, Do]:
        return {
            CommandAction.DIAGNOSTICS: self._diagnose,
            CommandAction.ROTATE_CERTIFICATE: self._rotate,
            CommandAction.RESCAN: self._rescan,
            CommandAction.ISOLATE: self._isolate,
            CommandAction.REJOIN: self._rejoin,
            CommandAction.SET_LAYERS: self._set_layers,
        }

    def _diagnose(self, arguments: Mapping[str, Argument], _stop: threading.Event) -> Done:
        return Done(Outcome.DONE, facts=self._diagnostics.read(int(arguments["events"])))

    def _rotate(self, _arguments: Mapping[str, Argument], _stop: threading.Event) -> Done:
        before = f"{self._renewal.present.serial_number:x}"
        certificate = self._renewal.renew()
        facts: dict[str, Fact] = {
            "serial": f"{certificate.serial_number:x}",
            "serial_before": before,
            "expires": clocks.text(certificate.not_valid_after_utc),
        }
        return Done(Outcome.DONE, "a connection with the new certificate was answered", facts)

    def _rescan(self, arguments: Mapping[str, Argument], stop: threading.Event) -> Done:
        ae_title = arguments["ae_title"]
        chosen = [watcher for watcher in self._watchers if ae_title in ("", watcher.ae_title)]
        if not chosen:
            return Done(Outcome.FAILED, "there is no such export folder on this host")
        asked = [(watcher.ae_title, watcher.rescan()) for watcher in chosen]
        deadline_s = time.monotonic() + self._rescan_s
        _wait_until(lambda: all(rescan.ended.is_set() for _, rescan in asked), deadline_s, stop)
        whole = [rescan for _, rescan in asked if rescan.is_complete]
        facts: dict[str, Fact] = {
            "files": sum(rescan.files or 0 for rescan in whole),
            "folders": [_said(title, rescan) for title, rescan in asked],
        }
        if len(whole) == len(asked):
            return Done(Outcome.DONE, f"looked through as a whole: {len(whole)} of {len(asked)} folders", facts)
        if all(rescan.ended.is_set() for _, rescan in asked):
            return Done(Outcome.FAILED, f"looked through as a whole: {len(whole)} of {len(asked)} folders", facts)
        return Done(Outcome.UNKNOWN, "it goes on, and had not ended when this was said", facts)

    def _isolate(self, _arguments: Mapping[str, Argument], stop: threading.Event) -> Done:
        self._isolation.change(isolated=True)
        _wait_until(lambda: not self._takes_in(), time.monotonic() + self._closing_s, stop)
        if self._takes_in():
            return Done(Outcome.FAILED, "that this host is isolated is kept, and it has not stopped taking in yet")
        return Done(Outcome.DONE, "the DICOM port is closed and no export folder is read", {"listening": False})

    def _rejoin(self, _arguments: Mapping[str, Argument], stop: threading.Event) -> Done:
        self._isolation.change(isolated=False)
        _wait_until(self._is_listening, time.monotonic() + self._closing_s, stop)
        if not self._is_listening():
            return Done(Outcome.FAILED, "this host is isolated no more, and its DICOM port is not open yet")
        return Done(Outcome.DONE, "modalities can send again", {"listening": True})

    def _set_layers(self, arguments: Mapping[str, Argument], _stop: threading.Event) -> Done:
        parts = parts_of(arguments)
        facts: dict[str, Fact] = {"layers": list(parts)}
        if not self._layers.to(parts):
            return Done(Outcome.DONE, "this host had these layers already", facts)
        self._start_anew()
        return Done(Outcome.DONE, "verified and kept; the agent starts anew now, and goes by them from then on", facts)

    def _takes_in(self) -> bool:
        return self._is_serving() or any(watcher.is_reading for watcher in self._watchers)


def _said(ae_title: str, rescan: Rescan) -> str:
    if rescan.files is None:
        return f"{ae_title}: not looked through"
    return f"{ae_title}: {rescan.files} files" + ("" if rescan.is_complete else "; some of it cannot be listed")


def _wait_until(holds: Callable[[], bool], deadline_s: float, stop: threading.Event) -> None:
    while not holds() and not stop.is_set() and time.monotonic() < deadline_s:
        stop.wait(_LOOK_S)
