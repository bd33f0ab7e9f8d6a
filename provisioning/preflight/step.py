"""Preflight as a step of a visit."""

from collections.abc import Collection, Sequence

from provisioning.finding import Finding
from provisioning.preflight.evaluate import ADVISED, evaluate
from provisioning.preflight.look import look
from provisioning.preflight.machine import Machine
from provisioning.visit.step import Context


class PreflightStep:
    name = "preflight"
    advised: Collection[str] = ADVISED

    def run(self, context: Context) -> Sequence[Finding]:
        return evaluate(context.site, look(context.site, Machine(context.places.root), context.clock)).findings
