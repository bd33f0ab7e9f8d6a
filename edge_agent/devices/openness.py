"""How far the storage of a device is open, and whether a verdict closes some of it.

The kernel goes on writing to what is mounted, whatever becomes of the disk. So a device whose storage is closed while
the kernel uses it has to come anew: it is taken away first, and what comes then is read-only from its first moment.
"""

from dataclasses import dataclass

from shared.devices.verdict import Access, Target, Verdict


@dataclass(frozen=True)
class Openness:
    written: bool = True
    in_clear: bool = True

    def __str__(self) -> str:
        return f"{'read-write' if self.written else 'read-only'}{'' if self.in_clear else ' encrypted'}"

    @classmethod
    def parse(cls, text: str) -> "Openness":
        """Read what `str` gave; anything else is taken for open, which at worst has a device come anew."""
        return cls(not text.startswith("read-only"), not text.endswith(" encrypted"))

    @classmethod
    def of(cls, verdict: Verdict) -> "Openness":
        return cls(verdict.access is Access.READ_WRITE, not verdict.only_encrypted)

    def closed_by(self, verdict: Verdict) -> bool:
        now = Openness.of(verdict)
        is_closer = (self.written and not now.written) or (self.in_clear and not now.in_clear)
        return verdict.target is Target.ALLOW and is_closer
