"""Which version of MQTT to offer a broker next. What it speaks is found out by connecting; nothing else says so.

it answered                                next offer
yes, or no for a reason of its own         the same
no: "unsupported protocol version"         the other
nothing, and hung up                       the other: RabbitMQ 3.10 answers MQTT 5 so
"""

from enum import Enum, IntEnum


class MqttVersion(IntEnum):
    """The protocol level as CONNECT carries it."""

    V311 = 4
    V5 = 5


BEST = MqttVersion.V5


class Answered(Enum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNSUPPORTED = "unsupported protocol version"
    HUNG_UP = "hung up without an answer"


_UNSUPPORTED_VERSION = 0x84  # MQTT 5.0 section 3.2.2.2; paho gives 3.1.1's return code 1 the same name


def read_answer(reason_code: int) -> Answered:
    if reason_code == _UNSUPPORTED_VERSION:
        return Answered.UNSUPPORTED
    return Answered.ACCEPTED if reason_code < 0x80 else Answered.REFUSED


def next_version(offered: MqttVersion, answered: Answered) -> MqttVersion:
    if answered in {Answered.ACCEPTED, Answered.REFUSED}:
        return offered
    return MqttVersion.V311 if offered is MqttVersion.V5 else MqttVersion.V5
