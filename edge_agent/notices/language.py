"""What a language has to have a word for. Names in braces are filled in: device, blocked, contact."""

from dataclasses import dataclass

from edge_agent.notices.notice import Kind
from shared.devices.verdict import Cause


@dataclass(frozen=True)
class Language:
    title: str
    kinds: dict[Kind, str]
    device: str  # of kind, name and port
    causes: dict[Cause, str]  # of a device that is blocked, or for two causes never is
    blocked: str
    would_be_blocked: str
    allowed: str
    rejected: str
    read_only: str
    rescue: str
    observed: str
    call: str
    call_nobody: str
    join: str
