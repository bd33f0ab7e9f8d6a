from edge_agent.notices.language import Language
from edge_agent.notices.notice import Kind
from shared.devices.verdict import Cause

ENGLISH = Language(
    title="Device guard",
    kinds={
        Kind.STORAGE: "The storage device",
        Kind.KEYBOARD: "The input device",
        Kind.NETWORK: "The network or radio device",
        Kind.OTHER: "The device",
    },
    device="{kind} “{name}” in port {port}",
    causes={
        Cause.RULE: "{device} {blocked}: this host's policy forbids it.",
        Cause.DEFAULT: "{device} {blocked}: this host's policy does not name it among the allowed ones.",
        Cause.NO_POLICY: "{device} {blocked}: this host has not received its policy yet, and until then nothing new "
        "is allowed.",
        Cause.ROOT_HUB: "{device} is part of the machine.",
        Cause.PINNED_CONSOLE: "{device} belongs to this console and always works.",
        Cause.RESCUE: "{device} {blocked}: the time of the rescue port is over. Plug it in with the machine switched "
        "off, then switch it on.",
        Cause.LAPSED: "{device} {blocked}: it was allowed for a certain time only, and that time has not come or is "
        "over, or this host is not sure of its clock.",
        Cause.SUSPICIOUS: "{device} {blocked}: it is not what it was before, or it behaves like a forgery. Unplug it "
        "and do not use it anywhere else.",
        Cause.NOT_ENCRYPTED: "{device} {blocked}: only encrypted storage is allowed here, and this is not encrypted "
        "throughout, or in a way that cannot be recognised.",
        Cause.NOT_READ_ONLY: "{device} {blocked}: it may only be read here, and this host could not make sure of that.",
        Cause.UNRECORDED: "{device} {blocked}: this host cannot write down what is plugged in, and allows nothing "
        "unrecorded. Its disk may be full or broken.",
        Cause.UNREADABLE: "{device} {blocked}: it does not say correctly what it is. It may be broken, or forged.",
    },
    blocked="was blocked",
    would_be_blocked="would be blocked",
    allowed="{device} is allowed.",
    rejected="It was also disconnected; unplug it.",
    read_only="{device} can be read here and not written to.",
    rescue="{device} works for a short while through the rescue port. This is recorded.",
    observed="It still works, because this is being tried out: from a day that your administrator sets it will not.",
    call="If you need it, call {contact}.",
    call_nobody="If you need it, call the administrator of this host.",
    join=" ",
)
