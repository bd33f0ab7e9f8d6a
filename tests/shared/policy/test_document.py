import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import canonical
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import encode_base64
from shared.policy.bundle import MAX_HEAD_BYTES, MAX_LAYER_BYTES, HeadBundle, LayerBundle
from shared.policy.document import MAX_BYTES, KeyPurpose, PolicyDocument
from shared.sealing.hpke import SealingPublicKey
from tests.shared.made import DATA_KEY, policy
from tests.vectors.generators.policy_devices import devices_document
from tests.vectors.given import sealing_key


def changed(**members: Any) -> bytes:
    return canonical.encode({**json.loads(policy().encode()), **members})


@given(st.text(max_size=20))
def test_only_the_exact_calling_ae_title_is_allowed(ae_title: str) -> None:
    assert policy().allows(ae_title) == (ae_title in ("CT1", "MR 2"))


@pytest.mark.parametrize("spoof", ["ct1", "CT1 ", " CT1", "CT1\x00", "CT11", "CT", "", "\uff23\uff341"])
def test_an_ae_title_that_resembles_a_listed_one_is_not_allowed(spoof: str) -> None:
    assert not policy().allows(spoof)


@given(st.text(max_size=18))
def test_an_ae_title_in_a_policy_is_one_that_dicom_can_carry(ae_title: str) -> None:
    data = changed(modalities=[{"ae_title": ae_title, "description": ""}])
    fits = 1 <= len(ae_title) <= 16 and all(" " <= c <= "~" and c != "\\" for c in ae_title)

    if fits and ae_title == ae_title.strip(" "):
        assert PolicyDocument.parse(data).allows(ae_title)
    else:
        with pytest.raises(Malformed):
            PolicyDocument.parse(data)


@cache
def key_of_epoch(epoch: int) -> SealingPublicKey:
    return sealing_key(f"data key of epoch {epoch}").public


def of_epoch(key: dict[str, Json], epoch: int) -> dict[str, Json]:
    public = key_of_epoch(epoch)
    return {**key, "epoch": epoch, "key_id": str(public.key_id), "public": encode_base64(public.raw)}


def test_one_key_never_serves_two_purposes() -> None:
    data, index, audit = json.loads(policy().encode())["keys"]
    shared = {**index, "key_id": data["key_id"], "public": data["public"]}

    with pytest.raises(Malformed, match="lists a public key twice"):
        PolicyDocument.parse(changed(keys=[data, shared, audit]))


@given(st.permutations([1, 2, 3, 10, 11]))
def test_the_key_of_the_highest_epoch_is_used_in_whatever_order_they_stand(epochs: list[int]) -> None:
    document = json.loads(policy().encode())
    data, *others = document["keys"]
    keys = [of_epoch(data, epoch) for epoch in epochs]
    parsed = PolicyDocument.parse(changed(keys=keys + others))

    used = parsed.key_for(KeyPurpose.DATA, "restricted")
    assert used == max(parsed.keys, key=lambda k: (k.purpose is KeyPurpose.DATA, k.epoch)).key


def test_a_key_that_nothing_could_be_sealed_to_is_refused() -> None:
    document = json.loads(policy().encode())
    low_order = {**document["keys"][0], "public": encode_base64(DATA_KEY.public.raw[:1184] + bytes(32))}

    with pytest.raises(Malformed, match="low order"):
        PolicyDocument.parse(changed(keys=[low_order, *document["keys"][1:]]))


@pytest.mark.parametrize("count, fits", [(100, True), (101, False)])
def test_there_are_at_most_a_hundred_keys(count: int, fits: bool) -> None:
    data, *others = json.loads(policy().encode())["keys"]
    document = changed(keys=others + [of_epoch(data, n) for n in range(1, count - 1)])

    if fits:
        assert len(PolicyDocument.parse(document).keys) == count
    else:
        with pytest.raises(Malformed, match="at most 100"):
            PolicyDocument.parse(document)


def test_what_is_larger_than_its_limit_is_refused_before_it_is_read() -> None:
    for parse, most in (
        (PolicyDocument.parse, MAX_BYTES), (HeadBundle.parse, MAX_HEAD_BYTES), (LayerBundle.parse, MAX_LAYER_BYTES),
    ):  # fmt: skip
        with pytest.raises(Malformed, match="larger than"):
            parse(b"[" * (most + 1))
        with pytest.raises(Malformed, match="not JSON"):
            parse(b"[" * most)


def test_what_is_said_of_devices_and_of_the_host_reads_back() -> None:
    document = devices_document()

    assert PolicyDocument.parse(document.encode()) == document


def test_a_document_that_says_nothing_of_devices_is_what_it_was_before_one_could() -> None:
    document = PolicyDocument.parse(policy().encode())

    assert (document.devices, document.watch) == (None, None)
    assert b"devices" not in document.encode()
    assert b"watch" not in document.encode()


@pytest.mark.parametrize("watch", [{"every_s": 60, "free": []}, {"every_s": 60, "most_drift_ms": 0}])
def test_a_default_that_is_written_out_is_refused(watch: Json) -> None:
    with pytest.raises(Malformed, match="writes out a default"):
        PolicyDocument.parse(changed(watch=watch))
