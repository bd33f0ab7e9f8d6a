"""Pushes policy through the broker and takes state reports from it. Without a broker hosts pull, and status says so."""

import logging
from functools import partial
from threading import Lock

from control_plane.enrolment.revocation import RevokedHosts
from control_plane.fleet.broker import BrokerUnavailable, ManagedBroker, find_mosquitto
from control_plane.fleet.broker_config import WITH_REVOKED, access_rules, configuration
from control_plane.fleet.mqtt import CentreMqtt
from control_plane.fleet.overview import BrokerState
from control_plane.fleet.states import StateIntake
from control_plane.fleet.takeover import take_over
from control_plane.http.tls import TlsIdentity
from control_plane.policy.publisher import PolicyPublisher
from control_plane.settings import Settings
from shared.enrolment.exchange import Doors
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import HostId
from shared.policy.bundle import HEAD_TOPIC, HeadBundle, LayerBundle, command_topic, layer_topic

_LOG = logging.getLogger(__name__)
_HINT_S = 2.0
INSTALL_HINT = "apt-get install mosquitto"


class PolicyPush:
    """Our own client of a broker, and the broker where it is ours; both absent where none is installed or wanted."""

    def __init__(
        self,
        settings: Settings,
        policy: PolicyPublisher,
        states: StateIntake,
        ca_pem: bytes,
        *,
        broker: TlsIdentity,
        service: TlsIdentity,
        revoked: RevokedHosts,
    ) -> None:
        self._policy, self._states, self._revoked = policy, states, revoked
        self._absent = "switched off with --no-broker"
        self._broker: ManagedBroker | None = None
        self._mqtt: CentreMqtt | None = None
        self._settings, self._ca_pem, self._broker_tls, self._service_tls = settings, ca_pem, broker, service
        # Held from reading who is revoked until the broker goes by it: what was read first must not be told last.
        self._telling = Lock()

    def doors(self, host: str, https_port: int) -> Doors:
        """Return what a host is told when it enrols, which is when it learns where the broker is."""
        outside = self._settings.outside_broker
        if outside is not None:
            return Doors(host, https_port, outside.port, outside.host, outside.ca)
        return Doors(host, https_port, self.port)

    @property
    def port(self) -> int | None:
        if self._settings.outside_broker is not None:
            return self._settings.outside_broker.port
        return self._broker.port if self._broker else None

    def start(self) -> None:
        if self._settings.outside_broker is not None:
            outside = self._settings.outside_broker
            self._connect(outside.host, outside.port, outside.ca.encode() if outside.ca else self._ca_pem)
        elif self._settings.with_broker:
            with self._telling:
                self._start_own()
            if self._broker is not None:
                self._connect("127.0.0.1", self._broker.port, self._ca_pem)

    def _start_own(self) -> None:
        program = find_mosquitto()
        if program is None:
            self._absent = f"Mosquitto is not installed; to have it: {INSTALL_HINT}"
            return
        loopback = self._settings.host in {"127.0.0.1", "localhost"}
        self._broker = ManagedBroker(
            self._settings.folders.broker, program, self._settings.mqtt_port, self._ca_pem,
            self._broker_tls.certificate, self._broker_tls.key, "127.0.0.1" if loopback else "0.0.0.0",  # noqa: S104 (hosts reach it there)
            configure=partial(configuration, paths=WITH_REVOKED), revoked_pem=self._revoked.revocation_list(),
            access_rules=access_rules(self._revoked.hosts()),
        )  # fmt: skip
        try:
            self._broker.start()
        except BrokerUnavailable as exc:
            raise BrokerUnavailable(f"port {self._settings.mqtt_port}: {exc.why}") from exc

    def _connect(self, host: str, port: int, ca_pem: bytes) -> None:
        self._mqtt = CentreMqtt(
            host, port, ca_pem, self._service_tls.certificate, self._service_tls.key,
            on_state=self._take, on_connected=self._policy.announce,
        )  # fmt: skip
        self._policy.subscribe(self._publish)
        self._mqtt.start()

    def stop(self) -> None:
        if self._mqtt:
            self._mqtt.stop()
        if self._broker:
            self._broker.stop()

    def end_session(self, host_id: HostId) -> str:
        """End what a revoked host has open at the broker, and keep it out; return why we cannot, empty when done.

        Raises BrokerUnavailable.
        """
        outside = self._settings.outside_broker
        if outside is not None:
            return (
                f"open until the host is taken out of the configuration of {outside.host} "
                "(`leadglass-provision broker`, docs/guides/administrator.md)"
            )
        with self._telling:
            if self._broker is None:
                return ""
            self._broker.tell_revoked(self._revoked.revocation_list(), access_rules(self._revoked.hosts()))
            # Within the lock too: the next list has the stand-in on it, which then could take nothing over.
            take_over(self._broker.port, self._ca_pem, self._revoked.stand_in(host_id), host_id)
        return ""

    def hint_command(self, host: HostId) -> None:
        """Have a host that is connected ask for its commands now; one that is not asks when it is."""
        if self._mqtt is None:
            return
        try:
            # Retained and empty: delivered to whoever listens now, and nothing is kept.
            self._mqtt.publish_retained(command_topic(str(host)), b"", timeout_s=_HINT_S)
        except Unavailable as exc:
            _LOG.warning("command.hint-failed", extra={"host": str(host), "why": str(exc)})

    def state(self) -> BrokerState:
        """Say *running* only while our own client is connected: a process that answers nobody pushes nothing."""
        if self._mqtt is None:
            return BrokerState("absent", self._absent)
        outside = self._settings.outside_broker
        if outside is not None and not self._mqtt.is_connected:
            return BrokerState(
                "connecting",
                f"{outside.host} port {outside.port} does not let the control plane in, or does not answer",
            )
        if self._broker is None:
            return BrokerState("running", "")
        status = self._broker.status
        if status.running and not self._mqtt.is_connected:
            return BrokerState("connecting", "the control plane's own client is not connected to it")
        return BrokerState("running" if status.running else "restarting", status.reason)

    def _publish(self, head: HeadBundle, layers: tuple[LayerBundle, ...]) -> None:
        if self._mqtt is None:
            return
        # The head last: whoever sees it can then have every layer that it names.
        for layer in layers:
            self._mqtt.publish_retained(layer_topic(layer.layer), layer.encode())
        self._mqtt.publish_retained(HEAD_TOPIC, head.encode())

    def _take(self, host: HostId, signed: bytes) -> None:
        try:
            self._states.take(host, signed)
        except (Refused, IntegrityFailure) as exc:
            _LOG.warning("state.refused", extra={"host": str(host), "why": str(exc)})
