"""Encapsulations in stock: each seals one box and no second, none is left over, and no image needs one."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_agent.capture.stock import Stock
from shared.policy.document import KeyPurpose
from shared.sealing import object_file
from shared.sealing.hpke import (
    AlreadyUsed,
    Boxes,
    BoxLabel,
    Encapsulation,
    SealedBox,
    SealingPrivateKey,
    SealingPublicKey,
)
from tests.fakes.centre import open_object
from tests.fakes.host import Host
from tests.shared.made import DATA_KEY, INDEX_KEY

KEY = DATA_KEY.public
SECRET = bytes(range(32))


class Remembered(SealingPublicKey):
    """A key that remembers what was made for it, as somebody who looks into memory does."""

    made: list[Encapsulation] = []  # noqa: RUF012  of the subclass that a test makes

    def encapsulate(self) -> Encapsulation:
        self.made.append(super().encapsulate())
        return self.made[-1]


@pytest.fixture
def remembered() -> Remembered:
    class Fresh(Remembered):
        made: list[Encapsulation] = []  # noqa: RUF012

    return Fresh(KEY.raw)


def is_destroyed(encapsulation: Encapsulation) -> bool:
    try:
        encapsulation.seal(BoxLabel.INDEX, b"", b"")
    except AlreadyUsed:
        return True
    return False


def encapsulated(boxes: list[bytes]) -> Counter[bytes]:
    return Counter(SealedBox.parse(box).enc for box in boxes)


def seal_from_many_threads(boxes: Boxes) -> list[bytes]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda at: boxes.seal(BoxLabel.DATA_KEY, at.to_bytes(2), SECRET), range(200)))


def test_none_is_used_twice_and_each_box_opens() -> None:
    stock = Stock(most=100)
    stock.fill([KEY])
    boxes = seal_from_many_threads(stock.boxes(KEY))

    assert max(encapsulated(boxes).values()) == 1
    assert stock.count() == 0
    for at, box in enumerate(boxes):
        assert DATA_KEY.open(BoxLabel.DATA_KEY, at.to_bytes(2), box) == SECRET


def test_a_stock_that_gives_one_out_twice_seals_nothing_by_it() -> None:
    class Careless(Stock):
        def take(self, key: SealingPublicKey) -> Encapsulation | None:
            return next(iter(self._ready[key]), None)

    careless = Careless(most=1)
    super(Careless, careless).take(KEY)
    careless.make_some()
    careless.boxes(KEY).seal(BoxLabel.DATA_KEY, b"", SECRET)

    with pytest.raises(AlreadyUsed):
        careless.boxes(KEY).seal(BoxLabel.DATA_KEY, b"", SECRET)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force()
    return host


@pytest.mark.parametrize("in_stock", [0, 1, 2])
def test_an_image_takes_what_there_is_and_is_sealed_all_the_same(host: Host, in_stock: int) -> None:
    policy = host.store.in_force()
    assert policy is not None
    stock = Stock(most=in_stock)
    stock.fill([policy.key_for(KeyPurpose.DATA, policy.default_grade), policy.key_for(KeyPurpose.INDEX)])
    ready, host.pipeline.boxes = stock.count(), stock.boxes
    host.capture(b"\x08\x00" * 100)

    assert ready - stock.count() == min(2, ready)
    oldest = host.spool.oldest()
    assert oldest is not None
    with host.spool.open(oldest) as file:
        dataset, _, parts = open_object(file.read(), host.signer.public, host.keys)
    assert dataset == b"\x08\x00" * 100
    assert isinstance(parts, object_file.ObjectParts)


def test_it_holds_no_more_than_it_may_and_for_the_keys_used_last() -> None:
    stock, keys = Stock(most=20), [SealingPrivateKey(bytes([at]) * 32).public for at in range(6)]
    stock.fill(keys)

    assert stock.count() == 4 * 20
    assert stock.take(keys[-1]) is not None
    assert stock.take(keys[0]) is None


def test_what_was_made_for_a_key_that_is_used_no_more_is_destroyed(remembered: Remembered) -> None:
    stock = Stock(most=3)
    stock.fill([remembered])
    assert len(remembered.made) == 3
    stock.fill(SealingPrivateKey(bytes([at]) * 32).public for at in range(4))

    assert all(map(is_destroyed, remembered.made))


def test_what_was_not_destroyed_would_be_seen(remembered: Remembered) -> None:
    Stock(most=3).fill([remembered])

    assert not any(map(is_destroyed, remembered.made))


def run(stock: Stock, stop: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=stock.run, args=(stop,))
    thread.start()
    return thread


class Telling(Stock):
    def __init__(self, most: int) -> None:
        super().__init__(most=most)
        self.full = threading.Event()

    def make_some(self) -> bool:
        were_missing = super().make_some()
        if not were_missing and self.count():
            self.full.set()
        return were_missing


def test_it_learns_a_key_from_its_first_use_and_leaves_nothing_when_it_stops(remembered: Remembered) -> None:
    stop, stock = threading.Event(), Telling(most=40)
    thread = run(stock, stop)
    assert stock.take(remembered) is None
    assert stock.full.wait(30)
    assert stock.count() == 40
    stop.set()
    stock.bell.ring()
    thread.join(30)

    assert stock.count() == 0
    assert all(map(is_destroyed, remembered.made))


def test_it_asks_for_more_once_half_is_used() -> None:
    stock = Stock(most=4)
    stock.fill([KEY])
    stock.bell.sleep(0)
    rings = []
    for _ in range(4):
        stock.take(KEY)
        rings.append(stock.bell.sleep(0))

    assert rings == [False, True, False, False]


def test_while_an_examination_runs_it_makes_none() -> None:
    asked, stop = threading.Event(), threading.Event()

    def until_it_stops(stopped: threading.Event) -> None:
        asked.set()
        stopped.wait()

    stock = Stock(until_it_stops)
    stock.take(INDEX_KEY.public)
    thread = run(stock, stop)
    assert asked.wait(30)

    assert stock.count() == 0
    stop.set()
    thread.join(30)
