"""What a technique can reach at best: no host reaches more than that, whatever it says."""

import re
from pathlib import Path

from shared.sanitization.medium import MAGNETIC, MediumKind
from shared.sanitization.reach import best
from shared.sanitization.technique import SanitizationClass, Technique

PAGE = Path(__file__).resolve().parents[3] / "docs" / "formats" / "wipe-techniques.md"
FLASH = [kind for kind in MediumKind if kind not in MAGNETIC]


def test_every_technique_has_a_class_on_every_medium_and_flash_never_has_a_higher_one() -> None:
    for technique in Technique:
        on_magnetic = {best(technique, kind) for kind in MAGNETIC}
        assert len(on_magnetic) == 1
        assert all(on_magnetic.copy().pop().reaches(best(technique, kind)) for kind in FLASH)


def test_writing_over_flash_and_discarding_never_purge() -> None:
    for technique in (Technique.OVERWRITE, Technique.DISCARD, Technique.MMC_SANITIZE, Technique.ATA_SECURE_ERASE):
        assert {best(technique, kind) for kind in MediumKind} == {SanitizationClass.CLEAR}
    assert best(Technique.ATA_SANITIZE_OVERWRITE, MediumKind.ATA_SSD) is SanitizationClass.CLEAR


def test_the_page_for_people_says_the_same() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([a-z]+)(?: / ([a-z]+))? \|", PAGE.read_text(encoding="utf-8"), re.M)

    assert {Technique(name): (magnetic, flash or magnetic) for name, magnetic, flash in rows} == {
        one: (best(one, MediumKind.ATA_DISK).value, best(one, MediumKind.ATA_SSD).value) for one in Technique
    }
