"""The self-test as a step; what it found is kept whole, with the centre's word, for the hand-over."""

from collections.abc import Collection, Sequence

from provisioning.finding import Finding
from provisioning.self_test.needed import advised
from provisioning.visit.step import Context


class SelfTest:
    name = "self-test"

    def __init__(self, *, has_guard: bool) -> None:
        # The report says all the same that nothing keeps the clock, as preflight did.
        self.advised: Collection[str] = advised(has_guard=has_guard)

    def run(self, context: Context) -> Sequence[Finding]:
        # Imported here, as what reads images is heavy and other steps need none of it.
        from edge_agent.config import AgentFolder
        from edge_agent.files import write_over
        from edge_agent.link.client import GuardClient
        from provisioning.self_test.device import is_put_to_use
        from provisioning.self_test.run import Context as TestContext
        from provisioning.self_test.run import run
        from provisioning.self_test.sending import AgentPort

        site, places = context.site, context.places
        outcome = run(
            TestContext(
                AgentFolder(places.agent_data),
                AgentPort(site.dicom_host, site.dicom_port, site.ae_title),
                context.clock,
                has_guard=site.guard and is_put_to_use(places.root, places.guard_socket),
                guard=lambda: GuardClient(places.guard_socket),
            )
        )
        write_over(places.self_test, outcome.encode())
        return outcome.findings
