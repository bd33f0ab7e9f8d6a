"""A policy file that uses every field there is, and what it says."""

from datetime import UTC, datetime
from textwrap import indent

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.devices import ReadBeside
from control_plane.policy.file.reading import nothing_beside, parse_policy_file
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.watch import AllowedPeer, LeastFree, WatchPolicy
from shared.policy.document import AfterReceipt, Coverage, Modality, Station
from shared.policy.grading import Grading, Rule
from shared.policy.routes import Peer, Route, Via
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from tests.vectors.given import TRUST

FINGERPRINT = "0a" * 32

FULL = f"""\
layer: organisation
modalities:
  - ae_title: MG1
    description: mammography, room 2.03
    addresses: [192.0.2.10, 192.0.2.16/28, "2001:db8::10"]
    certificates: [{FINGERPRINT}]
    commitment:
      ae_title: MG1_SC
      host: 192.0.2.10
      port: 104
      tls:
        trust: |
{indent(TRUST, " " * 10)}\
        name: mg1.example
    export_folder: move
    station: {{modality: MG, station_name: MGROOM2}}
  - ae_title: CT1
    description: CT, room 1.14
    station: {{modality: CT}}
grading:
  default: restricted
  grades: [general, restricted, secret]
  rules:
    - when: {{modality: [MG], department_name: ["*BREAST*", "*SENO*"]}}
      grade: secret
      routes: [pacs-main]
    - when: {{calling_ae_title: [PHANTOM]}}
      grade: general
  routes: [pacs-main, pacs-old]
  ungraded_routes: [pacs-old]
timings: {{state_every_s: 5, pull_every_s: 30}}
routes:
  - name: pacs-main
    via: centre
    calling_ae_title: LEADGLASS
    ae_title: PACS
    host: pacs.example
    port: 2762
    tls:
      trust: |
{indent(TRUST, " " * 8)}\
  - {{name: pacs-old, via: host, calling_ae_title: LEADGLASS, ae_title: OLD, host: 127.0.0.1, port: 104}}
dicom_trust: |
{indent(TRUST, "  ")}\
coverage: {{calling_ae_title: LEADGLASS, ae_title: PACS, host: pacs.example, port: 104}}
spool: {{quota_gib: 50}}
custody: {{frame_digests: true}}
devices:
  rules:
    - allow with-interface one-of {{ 09:00:00 09:00:01 09:00:02 }}
    - rule: allow id 0951:1666 with-interface 08:06:50
      only_encrypted: true
      not_after: 2026-12-31T18:00:00Z
  contact: biomedical engineering, phone 4711
watch:
  every_s: 60
  processes: [ctconsole]
  peers: [{{addresses: 192.0.2.0/24, port: 104}}, {{addresses: "2001:db8::10"}}]
  forbidden: ["/opt/*/vnc*"]
  encrypted: [/var/images]
  encrypted_swap: true
  free: [{{folder: /var/images, mib: 10240}}]
  most_drift_ms: 2000
wipe: {{least: purge, read_back: whole, approvals: 2, ticket_hours: 24}}
"""

MEANT = AuthoredPolicy(
    layer="organisation",
    modalities=(
        Modality(
            "MG1",
            "mammography, room 2.03",
            addresses=("192.0.2.10", "192.0.2.16/28", "2001:db8::10"),
            certificates=(FINGERPRINT,),
            commitment=Peer("MG1_SC", "192.0.2.10", 104, TRUST, "mg1.example"),
            export_folder=AfterReceipt.MOVE,
            station=Station("MG", "MGROOM2"),
        ),
        Modality("CT1", "CT, room 1.14", station=Station("CT")),
    ),
    grading=Grading(
        "restricted",
        ("general", "restricted", "secret"),
        (
            Rule((("department_name", ("*BREAST*", "*SENO*")), ("modality", ("MG",))), "secret", ("pacs-main",)),
            Rule((("calling_ae_title", ("PHANTOM",)),), "general"),
        ),
        ("pacs-main", "pacs-old"),
        ("pacs-old",),
    ),
    state_every_s=5,
    pull_every_s=30,
    routes=(
        Route("pacs-main", Via.CENTRE, "LEADGLASS", Peer("PACS", "pacs.example", 2762, TRUST)),
        Route("pacs-old", Via.HOST, "LEADGLASS", Peer("OLD", "127.0.0.1", 104)),
    ),
    dicom_trust=TRUST,
    coverage=Coverage("LEADGLASS", Peer("PACS", "pacs.example", 104)),
    spool_quota_bytes=50 << 30,
    frame_digests=True,
    devices=DevicePolicy(
        rules=(
            DeviceRule(parse_rule("allow with-interface one-of { 09:00:00 09:00:01 09:00:02 }")),
            DeviceRule(
                parse_rule("allow id 0951:1666 with-interface 08:06:50"),
                not_after=datetime(2026, 12, 31, 18, 0, tzinfo=UTC),
                only_encrypted=True,
            ),
        ),
        contact="biomedical engineering, phone 4711",
    ),
    watch=WatchPolicy(
        60,
        processes=("ctconsole",),
        peers=(AllowedPeer("192.0.2.0/24", 104), AllowedPeer("2001:db8::10")),
        forbidden=("/opt/*/vnc*",),
        encrypted=("/var/images",),
        encrypted_swap=True,
        free=(LeastFree("/var/images", 10_240),),
        most_drift_ms=2000,
    ),
    wipe=WipePolicy(LeastClass.PURGE, ReadBack.WHOLE, 2, 24),
)


def organisation(data: bytes, file: str, read_beside: ReadBeside = nothing_beside) -> AuthoredPolicy:
    """Read a file of the organisation's policy."""
    policy = parse_policy_file(data, file, read_beside)
    assert isinstance(policy, AuthoredPolicy)
    return policy
