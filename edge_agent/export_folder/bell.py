"""A bell that can be waited for together with descriptors."""

import os
import select

from edge_agent.parts import Bell


class DescriptorBell(Bell):
    """Rings through an eventfd(2), so that one wait hears it and the folder alike, without polling."""

    def __init__(self) -> None:
        super().__init__()
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        os.eventfd_write(self._descriptor, 1)

    def sleep(self, timeout_s: float | None = None) -> bool:
        return self.wait((), timeout_s)

    def wait(self, descriptors: tuple[tuple[int, int], ...], timeout_s: float | None) -> bool:
        """Return when it rings, when a descriptor has one of its `poll` events, or when the time is over.

        Returns whether it rang.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        for descriptor, events in descriptors:
            poll.register(descriptor, events)
        ready = poll.poll(None if timeout_s is None else max(timeout_s, 0) * 1000)
        has_rung = any(descriptor == self._descriptor for descriptor, _ in ready)
        if has_rung:
            os.eventfd_read(self._descriptor)
        return has_rung
