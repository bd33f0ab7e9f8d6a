"""The end: both programs stop when they are asked to, and nothing that they started outlives them."""

from provisioning.demo.expectations import Expectation
from provisioning.demo.processes import left_behind
from provisioning.demo.stage import Stage

EXPECTED = (
    Expectation("ended-in-order", "both programs end in order when they are asked to"),
    Expectation("nothing-left-running", "no process of them is left, the broker included"),
)


def end(stage: Stage) -> None:
    with stage.display.doing("stopping both"):
        codes = stage.children.stop_all()
        left = left_behind(stage.folders.data)
    said = ", ".join(f"{program} exit code {code}" for program, code in codes)
    stage.judge("ended-in-order", bool(codes) and not any(code for _, code in codes), said)
    stage.judge("nothing-left-running", not left, f"{len(left)} processes")
