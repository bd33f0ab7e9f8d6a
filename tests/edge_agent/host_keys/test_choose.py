"""Which protection a host's keys get."""

import pytest

from edge_agent.host_keys import classify
from edge_agent.host_keys.choose import choose
from edge_agent.host_keys.vault import KeyVaultUnavailable
from shared.fleet.keys import KeyProtection

NONE = KeyVaultUnavailable(classify.NO_TPM)


def test_of_auto_it_is_the_tpm_that_answered() -> None:
    assert choose("auto", None).protection is KeyProtection.TPM


def test_of_auto_without_a_tpm_it_is_a_file_and_the_reason_is_told() -> None:
    chosen = choose("auto", NONE)

    assert chosen.protection is KeyProtection.FILE
    assert "switch it on in the firmware" in chosen.why


def test_a_tpm_that_was_asked_for_and_does_not_answer_is_never_replaced_by_a_file() -> None:
    with pytest.raises(KeyVaultUnavailable):
        choose("tpm", NONE)


@pytest.mark.parametrize("fault", [None, NONE])
def test_a_file_that_was_asked_for_is_a_file(fault: KeyVaultUnavailable | None) -> None:
    assert choose("file", fault).protection is KeyProtection.FILE
