"""QEMU's machine protocol: plug, unplug, type, stop, save.  https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html"""

import queue
from pathlib import Path
from typing import Any

from tests.lab.wire import LabError, Message, Wire

ANSWER_S = 60.0


class Qmp:
    def __init__(self, socket: Path) -> None:
        self._events: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._wire = Wire(socket, self._heard, timeout_s=60)
        self.ask("qmp_capabilities")

    def ask(self, command: str, /, **arguments: Any) -> Any:
        """Return what QEMU answers. An underscore in a name stands for a hyphen. Raises LabError."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        answer = self._wire.ask({"execute": command, "arguments": named}, ANSWER_S)
        if "error" in answer:
            raise LabError(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def await_event(self, event: str, device: str, timeout_s: float) -> None:
        """Raises LabError: it did not come."""
        while True:
            try:
                message = self._events.get(timeout=timeout_s)
            except queue.Empty:
                raise LabError(f"no {event} of {device} within {timeout_s:.0f} s") from None
            if message["event"] == event and message["data"].get("device") == device:
                return

    def close(self) -> None:
        self._wire.close()

    def _heard(self, message: Message, arrived: float) -> None:
        if "event" in message:
            self._events.put(message)
