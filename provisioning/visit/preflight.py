"""The step that looks whether this machine is fit, and changes nothing."""

from collections.abc import Collection, Sequence

from provisioning.finding import Finding
from provisioning.preflight.evaluate import ADVISED, evaluate
from provisioning.preflight.look import look
from provisioning.preflight.machine import Machine
from provisioning.visit.step import Context


class Preflight:
    name = "preflight"
    advised: Collection[str] = ADVISED

    def run(self, context: Context) -> Sequence[Finding]:
        return evaluate(context.site, look(context.site, Machine(context.places.root), context.clock)).findings
