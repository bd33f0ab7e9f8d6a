"""Lost images that a person gives up, and the page that counts them, through the people's door."""

import pytest

from control_plane.db.models import LostObject, Object
from tests.control_plane.fleet.reporting import HOST, Fleet

NAME = "ab" * 16


def lost(fleet: Fleet) -> None:
    now, nothing = fleet.clock.now(), b""
    with fleet.database.begin() as session:
        session.add(
            Object(object_id=NAME, host_id=str(HOST), binding=nothing, record=nothing, record_sha256=nothing,
                   sealed_index=nothing, index_state="indexed", body_bytes=0, received=now, receipt=nothing)
        )  # fmt: skip
        session.flush()
        session.add(LostObject(object_id=NAME, host_id=str(HOST), dataset_sha256=nothing, found=now))


def test_a_person_gives_a_lost_image_up_and_it_stays_counted(fleet: Fleet) -> None:
    lost(fleet)
    assert fleet.command("losses", "list")[1].splitlines()[-1] == "1 lost, 0 lost and settled"
    assert "the vault lost 1 image" in fleet.status()[1]

    assert fleet.command("losses", "settle", NAME, "--why", "scanner scrapped")[0] == 0

    assert "the vault lost 1 image" not in fleet.status()[1]
    first, count = fleet.command("losses", "list")[1].splitlines()
    assert first.startswith(f"{NAME}  lost, settled ")
    assert count == "0 lost, 1 lost and settled"
    assert "objects    1, lost, settled: 1" in fleet.command("status")[1]
    assert "1 lost, settled" in fleet.get("/")[1]
    assert fleet.command("losses", "settle", NAME, "--why", "once more")[0] == 1


@pytest.mark.parametrize(
    "path, browser, expected",
    [("/", "de, zh-CN;q=0.8", "zh-CN"), ("/", "de", "en"), ("/?lang=en", "zh", "en"),
     ("/?lang=zh&renewed=1", "en", "zh-CN"), ("/?lang=xx", "en", "en")],
)  # fmt: skip
def test_the_status_page_is_in_the_language_that_is_asked_for_or_the_browser_likes(
    fleet: Fleet, path: str, browser: str, expected: str
) -> None:
    assert f'<html lang="{expected}">' in fleet.get(path, {"Accept-Language": browser})[1]
