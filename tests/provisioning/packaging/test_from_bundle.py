"""A bundle on a machine with nothing of ours, as the engineer's guide has it, and on one that has a version."""

import re
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provisioning.bundle.needed import NEEDED
from provisioning.packaging.build import ROOT
from tests.provisioning.bundle.making import SITE
from tests.provisioning.packaging.conftest import NEXT, Packages
from tests.provisioning.packaging.machine import Machine

GUIDE = ROOT / "docs/guides/field-engineer.md"
_PRIVATE = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Office:
    """Where the release key is: makes bundles with the command that is there for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packages = folder / "packages"
        self.packages.mkdir(parents=True)
        self.site = folder / "ct2.toml"
        self.site.write_text(SITE)
        for name in NEEDED:
            self._stand_in(name)

    def _stand_in(self, name: str) -> None:
        """Debian's own package is on the machine; what is called like it here would show if it were installed."""
        tree = self.folder / "tree" / "DEBIAN"
        tree.mkdir(parents=True, exist_ok=True)
        (tree / "control").write_text(
            f"Package: {name}\nVersion: 99\nArchitecture: all\nMaintainer: nobody <x@x.invalid>\nDescription: x\n"
        )
        command = ["dpkg-deb", "-Znone", "--build", str(tree.parent), str(self.packages / f"{name}_99_all.deb")]
        subprocess.run(command, check=True, capture_output=True)

    def key(self, name: str) -> Path:
        path = self.folder / f"{name}.pem"
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            path.write_bytes(key.private_bytes(*_PRIVATE))
            path.with_suffix(".pub").write_bytes(
                key.public_key().public_bytes(_PRIVATE[0], serialization.PublicFormat.SubjectPublicKeyInfo)
            )
        return path

    def fingerprint(self, name: str) -> str:
        key = serialization.load_pem_public_key(self.key(name).with_suffix(".pub").read_bytes())
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return sha256(der).hexdigest()

    def bundle(self, machine: Machine, package: Path, key: str, *more: str) -> str:
        """Return where the machine finds a bundle with `package` in it."""
        from provisioning.__main__ import main

        for old in self.packages.glob("leadglass-agent_*"):
            old.unlink()
        (self.packages / package.name).symlink_to(package)
        out = self.folder / key
        command = ["bundle", "make", "--key", self.key(key), "--packages", self.packages, "--site", self.site]
        assert main([*map(str, command), "--guide", str(GUIDE), "--out", str(out), *more]) == 0
        (made,) = out.glob("*.bundle")
        lent = made.rename(machine.given / f"{key}-{made.name}")
        return f"/given/{lent.name}"


def commands_of_the_guide(title: str) -> str:
    """Return what the guide has an engineer type below a heading, its prompt taken away."""
    section = GUIDE.read_text().split(f"{title}\n", 1)[1]
    block = section.split("```sh\n", 1)[1].split("```", 1)[0]
    return re.sub(r"^# ", "", block, flags=re.MULTILINE)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path / "office")


def typed(machine: Machine, title: str, bundle: str, **sheet: str) -> "subprocess.CompletedProcess[str]":
    """Type the guide's commands, with what the sheet says, on a machine whose working folder is the engineer's."""
    script = commands_of_the_guide(title)
    for word, value in {"/media/usb/leadglass-0.1.0.bundle": bundle, **sheet}.items():
        assert word in script, f"the guide no longer says {word}"
        script = script.replace(word, value)
    return machine.run("sh", "-e", "-c", f"rm -rf /root/leadglass\n{script}")


def leading_elsewhere(machine: Machine, bundle: str) -> str:
    """Return a bundle whose `begin.sh` lies on the stick, and whose `release.der` is another file of the machine."""
    with tarfile.open(machine.given / Path(bundle).name) as genuine:
        members = [(member, genuine.extractfile(member)) for member in genuine]
        with tarfile.open(machine.given / "leading.bundle", "w") as made:
            for member, content in members:
                if member.name == "begin.sh":
                    assert content is not None
                    (machine.given / "begin.sh").write_bytes(content.read())
                    _link(made, "begin.sh", "/given/begin.sh")
                else:
                    made.addfile(member, content)
            _link(made, "release.der", "/etc/planted")
    return "/given/leading.bundle"


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    tar.addfile(link)


def test_a_machine_with_nothing_of_ours_verifies_a_bundle_with_its_own_programs_and_later_ones_with_ours(
    bench: Machine, packages: Packages, office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = office.bundle(bench, packages.this, "release")
    sheet = capsys.readouterr().out
    fingerprint = office.fingerprint("release")
    assert fingerprint in sheet.replace(" ", "")
    digest = sha256((bench.given / Path(bundle).name).read_bytes()).hexdigest()
    assert digest in sheet.replace(" ", "")

    # The controls: another digest, another key, and one changed byte in the last package.
    spoilt = bytearray((bench.given / Path(bundle).name).read_bytes())
    spoilt[spoilt.rindex(b"site/ct2.toml") - 600] ^= 1
    (bench.given / "spoilt.bundle").write_bytes(spoilt)
    assert typed(bench, "By the digest", "/given/spoilt.bundle", DIGEST=digest).returncode != 0
    assert typed(bench, "By the release key", "/given/spoilt.bundle", FINGERPRINT=fingerprint).returncode != 0
    thief = office.bundle(bench, packages.this, "thief")
    assert typed(bench, "By the release key", thief, FINGERPRINT=fingerprint).returncode != 0
    leading = leading_elsewhere(bench, bundle)
    assert typed(bench, "By the release key", leading, FINGERPRINT=fingerprint).returncode != 0
    assert not bench.sees("/etc/planted").exists()
    assert not bench.sees("/opt/leadglass").exists()

    by_digest = typed(bench, "By the digest", bundle, DIGEST=digest)
    assert by_digest.returncode == 0, by_digest.stderr
    by_key = typed(bench, "By the release key", bundle, FINGERPRINT=fingerprint)
    assert by_key.returncode == 0, by_key.stderr
    begun = bench.run("sh", "-c", f"cd /root/leadglass && sh begin.sh bundle '{fingerprint}'")
    assert begun.returncode == 0, begun.stderr
    assert "visit --site-file /var/lib/leadglass-provision/bundle/0.1.0/site/ct2.toml" in begun.stdout
    assert "99" not in bench.done("dpkg-query", "-W", "-f=${Version}\n", "python3", "media-types").split()

    # From here on the host has a key of its own to judge by, which says which comes next.
    following = office.bundle(
        bench, packages.next, "release", "--next-key", str(office.key("later").with_suffix(".pub"))
    )
    assert bench.run("leadglass-provision", "bundle", "verify", thief).returncode == 1
    assert "not known here" in bench.run("leadglass-provision", "bundle", "install", thief).stderr
    upgraded = bench.run("leadglass-provision", "bundle", "install", following)
    assert upgraded.returncode == 0, upgraded.stderr
    assert f"version {NEXT} is installed" in upgraded.stdout
    rotated = office.bundle(bench, packages.next, "later")
    assert bench.run("leadglass-provision", "bundle", "verify", rotated).returncode == 0

    older = bench.run("leadglass-provision", "bundle", "install", bundle)
    assert older.returncode == 1
    assert f"the bundle holds version 0.1.0, and {NEXT} is installed: it is genuine and older" in older.stderr
    # Neither is a newer one that dpkg did not come to the end of.
    status = bench.sees("/var/lib/dpkg/status")
    whole = status.read_text()
    head = "Package: leadglass-agent\nStatus: install ok "
    assert f"{head}installed" in whole
    status.write_text(whole.replace(f"{head}installed", f"{head}half-configured"))
    assert "it is genuine and older" in bench.run("leadglass-provision", "bundle", "install", bundle).stderr
    status.write_text(whole)
    # And what begins on a machine with nothing of ours is no way around that.
    begun = bench.run("sh", "-c", f"cd /root/leadglass && sh begin.sh bundle '{fingerprint}'")
    assert "it is genuine and older" in begun.stderr
    assert bench.done("dpkg-query", "-W", "-f=${Version}", "leadglass-agent") == NEXT
    assert bench.run("leadglass-provision", "bundle", "install", bundle, "--downgrade", "0.1.0").returncode == 0
