"""What the rest of the agent sees of forwarding: a capture prepares and adds, the spool asks whether to keep."""

from collections.abc import Callable, Sequence
from sqlite3 import Connection

from edge_agent.forward import box
from edge_agent.forward.box import Contents
from edge_agent.forward.key import ForwardingKey
from edge_agent.forward.queue import Forward, ForwardQueue
from shared.identity import ObjectId
from shared.policy.document import PolicyDocument
from shared.policy.routes import Via
from shared.sealing.binding import Binding


class Forwards:
    def __init__(self, key: ForwardingKey, queue: ForwardQueue) -> None:
        self._key, self._queue = key, queue

    def prepare(
        self,
        policy: PolicyDocument,
        routes: Sequence[str],
        binding: Binding,
        data_key: bytes,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
    ) -> Forward | None:
        """Wrap the data key of an image a second time where `routes`, those of its record, name one of this host's.

        `policy` is the one that the image is captured under. None: no route is this host's, and there is no second
        wrap. Raises ForwardingKeyUnusable: the image is then to be refused, for the centre leaves such a route to us
        and nobody would send it.
        """
        ours = {route.name for route in policy.routes if route.via is Via.HOST}
        mine = tuple(dict.fromkeys(name for name in routes if name in ours))
        if not mine:
            return None
        contents = Contents(data_key, sop_class_uid, sop_instance_uid)
        return Forward(binding.object_id, mine, box.seal(contents, binding.encode(), self._key.public()))

    def add(self, connection: Connection, forward: Forward) -> None:
        """Owe it, in the caller's transaction: the one that records the capture of what is in the spool by then."""
        self._queue.add(connection, forward)

    def holds(self, object_id: ObjectId) -> bool:
        """Return whether an archive is still owed the object, so that it stays in the spool whatever the vault says.

        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        return self._queue.holds(object_id)

    def on_let_go(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when objects may have been let go, durably: ask `holds` again. It must not block."""
        self._queue.on_let_go(wake)
