"""A notice of a stick that no rule allows."""

from datetime import UTC, datetime

from edge_agent.notices.notice import Kind, Told
from shared.devices.verdict import Access, Cause, Target

TOLD = Told(
    datetime(2026, 3, 1, 8, 0, tzinfo=UTC), "1-2.4", "Ultra", "0781:5581", Kind.STORAGE, Target.BLOCK, Target.BLOCK,
    Cause.DEFAULT, "serial: expected 4C52, found 4C53", Access.READ_WRITE, "IT service, 4711", "en",
)  # fmt: skip
