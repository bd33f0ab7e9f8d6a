"""What is said of a capture without opening it is what its host would do, or *not evaluated*."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.simulation.captures import Captured, CaptureVerdict, Treated, judge
from edge_agent.capture.grade import Graded, choose
from shared.policy.document import AfterReceipt, Modality
from shared.policy.grading import Grading, Rule
from tests.control_plane.policy.file.full import MEANT
from tests.control_plane.policy.file.test_reading import document

CT1 = Modality("CT1", "CT")
CONDITIONS = (
    ("calling_ae_title", ("CT1",)),
    ("calling_ae_title", ("US*",)),
    ("modality", ("CT",)),
    ("modality", ("US", "MR")),
    ("department_name", ("*BREAST*",)),
)
conditions = st.lists(st.sampled_from(CONDITIONS), max_size=2, unique_by=lambda each: each[0])
rules = st.builds(
    Rule,
    conditions.map(lambda each: tuple(sorted(each))),
    st.sampled_from(["general", "secret"]),
    st.sampled_from([(), ("pacs-main",)]),
)  # fmt: skip
gradings = st.builds(
    Grading,
    st.sampled_from(["general", "secret"]),
    st.just(("general", "secret")),
    st.lists(rules, max_size=4).map(tuple),
    st.sampled_from([(), ("pacs-main",)]),
    st.sampled_from([(), ("pacs-old",)]),
)
attributes = st.fixed_dictionaries(
    {"modality": st.sampled_from(["CT", "US", ""]), "department_name": st.sampled_from(["BREAST UNIT", ""])}
)
Image = dict[str, str]


def with_grading(grading: Grading) -> AuthoredPolicy:
    return replace(MEANT, modalities=(CT1, Modality("US1", "ultrasound")), grading=grading, dicom_trust="")


def graded(policy: AuthoredPolicy, ae_title: str, image: Image, unreadable: set[str], *, is_read: bool) -> Graded:
    """Return what a host does; `unreadable` are attributes that it cannot read, once a rule looks at them."""
    can_be = is_read and not policy.grading.looks_at & unreadable
    return choose(document(policy), ae_title, image if can_be else None)


titles, unreadables = st.sampled_from(["CT1", "US1"]), st.sets(st.sampled_from(["modality", "department_name"]))


@settings(max_examples=1000)
@given(gradings, gradings, titles, attributes, unreadables, st.booleans(), st.booleans())
def test_what_is_certain_is_how_the_host_would_grade_it(
    before: Grading, after: Grading, ae_title: str, image: Image, unreadable: set[str], is_read: bool, knows: bool
) -> None:
    old, new = with_grading(before), with_grading(after)
    was, then = (graded(each, ae_title, image, unreadable, is_read=is_read) for each in (old, new))
    verdict = judge(Captured("host", ae_title, was.grade, was.routes, 1, is_read), old if knows else None, new)

    if verdict.treated is Treated.SAME:
        assert (was.grade, was.routes) == (then.grade, then.routes)
    elif verdict.treated is Treated.OTHERWISE:
        assert (was.grade, was.routes) != (then.grade, then.routes)
        assert then.grade in verdict.then
    else:
        assert verdict.treated is Treated.NOT_EVALUATED


@given(gradings, titles, attributes, unreadables, st.booleans())
def test_under_the_same_policy_nothing_differs(
    grading: Grading, ae_title: str, image: Image, unreadable: set[str], is_read: bool
) -> None:
    policy = with_grading(grading)
    was = graded(policy, ae_title, image, unreadable, is_read=is_read)

    captured = Captured("host", ae_title, was.grade, was.routes, 1, is_read)
    assert judge(captured, policy, policy) == CaptureVerdict(Treated.SAME)


POLICY = with_grading(Grading("general", ("general", "secret")))
CAPTURED = Captured("host", "CT1", "general", (), 1, is_read=True)


def test_an_ae_title_that_the_policy_does_not_list_would_be_refused() -> None:
    after = replace(POLICY, modalities=(Modality("US1", "ultrasound"),))

    assert judge(CAPTURED, POLICY, after) == CaptureVerdict(Treated.REFUSED, why="the policy does not list CT1")
    assert judge(CAPTURED, POLICY, POLICY).treated is Treated.SAME


def test_a_capture_whose_sender_no_record_names_is_not_evaluated() -> None:
    assert judge(replace(CAPTURED, ae_title=""), POLICY, POLICY).treated is Treated.NOT_EVALUATED


def test_what_is_sealed_is_named_and_not_guessed_at() -> None:
    ruled = with_grading(replace(POLICY.grading, rules=(Rule((("modality", ("CT",)),), "secret"),)))
    by_sender = with_grading(replace(POLICY.grading, rules=(Rule((("calling_ae_title", ("CT1",)),), "secret"),)))

    assert judge(CAPTURED, POLICY, ruled) == CaptureVerdict(
        Treated.NOT_EVALUATED, why="its grade depends on modality, which the centre does not see"
    )
    assert judge(CAPTURED, POLICY, by_sender) == CaptureVerdict(
        Treated.OTHERWISE, "secret, to the vault", "captured as general, to the vault"
    )


def test_an_image_that_could_not_be_read_takes_the_strictest_grade_of_the_other_policy() -> None:
    unread = replace(CAPTURED, grade="secret", is_read=False)

    assert judge(unread, POLICY, with_grading(Grading("general"))).then == "general, to the vault"


@pytest.mark.parametrize(
    "old, new, why",
    [
        (CT1, replace(CT1, addresses=("192.0.2.1",)), "address"),
        (replace(CT1, addresses=("192.0.2.1", "192.0.2.2")), replace(CT1, addresses=("192.0.2.1",)), "address"),
        (CT1, replace(CT1, certificates=("0a" * 32,)), "certificate"),
        (replace(CT1, export_folder=AfterReceipt.KEEP), CT1, "way in, which may have been the export folder"),
    ],
)
def test_whether_a_sender_could_show_what_it_is_asked_for_now_is_not_evaluated(
    old: Modality, new: Modality, why: str
) -> None:
    before, after = (replace(POLICY, modalities=(each,)) for each in (old, new))

    assert judge(CAPTURED, before, after) == CaptureVerdict(
        Treated.NOT_EVALUATED, why=f"whether it would still be let in: no record here says its {why}"
    )
    if not new.export_folder and not old.export_folder:
        assert judge(CAPTURED, after, before).treated is Treated.SAME
