"""What may be said about a broker that others run."""

from pathlib import Path

import pytest

from control_plane.settings import OutsideBroker, SettingRefused, outside_broker
from tests.control_plane.fleet.pki import TestCa


@pytest.mark.parametrize(
    "url, expected",
    [
        ("mqtts://broker.example:8884", OutsideBroker("broker.example", 8884)),
        ("mqtts://broker.example", OutsideBroker("broker.example", 8883)),
        ("mqtts://[2001:db8::1]:8883/", OutsideBroker("[2001:db8::1]", 8883)),
    ],
)
def test_a_url_names_host_and_port(url: str, expected: OutsideBroker) -> None:
    assert outside_broker(url) == expected


@pytest.mark.parametrize(
    "url",
    ["mqtt://broker.example", "broker.example:8883", "mqtts://", "mqtts://broker:0", "mqtts://broker:65536",
     "mqtts://user:word@broker", "mqtts://broker/path", "mqtts://broker:8883\n", "https://broker"],
)  # fmt: skip
def test_refuses_a_broker_without_tls_and_whatever_else_is_no_address(url: str) -> None:
    with pytest.raises(SettingRefused):
        outside_broker(url)


def test_the_authority_of_a_broker_is_one_certificate(tmp_path: Path) -> None:
    file, pem = tmp_path / "ca.pem", TestCa().pem.decode()
    file.write_text(pem)
    read = outside_broker("mqtts://broker", file).ca

    assert read == pem
    for wrong in ("", "no certificate", pem + pem, "text before\n" + pem):
        file.write_text(wrong)
        with pytest.raises(SettingRefused):
            outside_broker("mqtts://broker", file)
    with pytest.raises(SettingRefused):
        outside_broker("mqtts://broker", tmp_path / "missing")
