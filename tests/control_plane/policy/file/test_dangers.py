"""Whatever lets a device do more, or grades an image down or keeps it from an archive, is called a danger before it is
published: held against what guard and host decide.
"""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.policy.file.differences import differences
from edge_agent.capture.grade import choose
from shared.devices.device import UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.policy import DevicePolicy
from shared.devices.simulate import loosens
from shared.policy.grading import Grading, Rule
from tests.control_plane.policy.file.full import MEANT
from tests.control_plane.policy.file.test_reading import document
from tests.control_plane.policy.simulation.test_devices import AROUND, devices, policies

GRADES = ("general", "restricted", "secret")
CONDITIONS = (("calling_ae_title", ("CT1",)), ("modality", ("CT", "MR")), ("modality", ("US",)))
routes = st.sampled_from([(), ("pacs-main",), ("pacs-main", "pacs-old")])
when = st.lists(st.sampled_from(CONDITIONS), max_size=2, unique_by=lambda each: each[0])
rules = st.builds(Rule, when.map(lambda each: tuple(sorted(each))), st.sampled_from(GRADES), routes)
gradings = st.builds(
    Grading, st.sampled_from(GRADES), st.just(GRADES), st.lists(rules, max_size=4).map(tuple), routes, routes
)
images = st.none() | st.fixed_dictionaries({"modality": st.sampled_from(["CT", "US", ""])})


def has_danger(before: Grading | DevicePolicy | None, after: Grading | DevicePolicy | None) -> bool:
    name = "grading" if isinstance(before, Grading) else "devices"
    old, new = (replace(MEANT, **{name: each}) for each in (before, after))  # type: ignore[arg-type]
    return any(change.danger for change in differences(old, new))


@settings(max_examples=500)
@given(devices, policies, policies)
def test_a_device_that_may_do_more_is_never_without_a_danger(
    device: UsbDevice, before: DevicePolicy | None, after: DevicePolicy | None
) -> None:
    if loosens(evaluate(before, device, AROUND), evaluate(after, device, AROUND)):
        assert has_danger(before, after)


@settings(max_examples=500)
@given(gradings, gradings, st.sampled_from(["CT1", "US1"]), images)
def test_an_image_that_is_graded_down_or_reaches_fewer_archives_is_never_without_a_danger(
    before: Grading, after: Grading, ae_title: str, image: dict[str, str] | None
) -> None:
    was, then = (choose(document(replace(MEANT, grading=each)), ae_title, image) for each in (before, after))

    if GRADES.index(then.grade) < GRADES.index(was.grade) or set(was.routes) - set(then.routes):
        assert has_danger(before, after)
