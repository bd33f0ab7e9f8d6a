"""An implementation of logs that is not ours, built once."""

import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's golang, and its package of golang.org/x/mod, which `make test` installs."""
    built = tmp_path_factory.mktemp("foreign")
    source = Path(__file__).parent / "foreign" / "verify.go"
    environment = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(built / "cache")}
    subprocess.run(
        ["go", "build", "-o", str(built / "verify"), str(source)], check=True, env=os.environ | environment, timeout=300
    )
    return built / "verify"
