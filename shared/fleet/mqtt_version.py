"""Which version of MQTT to offer a broker next. What it speaks is found out by connecting; nothing else says so.

it answered                                next offer
yes, or no for a reason of its own         the same
no: "unsupported protocol version"         the other
nothing, and hung up                       the other, as RabbitMQ 3.10 answers MQTT 5 so; but the same once more
where it was accepted before: a cluster that lost a node hangs up too
"""

from dataclasses import dataclass
from enum import Enum, IntEnum


class MqttVersion(IntEnum):
    """The protocol level as CONNECT carries it."""

    V311 = 4
    V5 = 5


class Answered(Enum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNSUPPORTED = "unsupported protocol version"
    HUNG_UP = "hung up without an answer"


_UNSUPPORTED_VERSION = 0x84  # MQTT 5.0 section 3.2.2.2; paho gives 3.1.1's return code 1 the same name
_FAILURES_FROM = 0x80


def read_answer(reason_code: int) -> Answered:
    if reason_code == _UNSUPPORTED_VERSION:
        return Answered.UNSUPPORTED
    return Answered.ACCEPTED if reason_code < _FAILURES_FROM else Answered.REFUSED


@dataclass(frozen=True)
class Offer:
    version: MqttVersion = MqttVersion.V5
    is_proven: bool = False

    def after(self, answered: Answered) -> "Offer":
        if answered is Answered.ACCEPTED:
            return Offer(self.version, True)
        if answered is Answered.REFUSED:
            return self
        if answered is Answered.HUNG_UP and self.is_proven:
            return Offer(self.version, False)
        return Offer(MqttVersion.V311 if self.version is MqttVersion.V5 else MqttVersion.V5)
