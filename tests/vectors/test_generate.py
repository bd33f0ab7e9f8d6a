"""The generators make the vectors that lie here, again and again."""

from tests.vectors import generate
from tests.vectors.given import FOLDER


def test_making_the_vectors_again_changes_nothing() -> None:
    made = generate.make_all()

    changed = [name for name, text in made.items() if (FOLDER / name).read_text(encoding="utf-8") != text]
    assert not changed


def test_every_vector_has_a_generator() -> None:
    lying = {str(path.relative_to(FOLDER)) for name in generate.FORMATS for path in (FOLDER / name).iterdir()}

    assert lying <= generate.make_all().keys()
