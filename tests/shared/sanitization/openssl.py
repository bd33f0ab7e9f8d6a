"""The stream of a seed as a stranger makes it, with openssl and nothing of ours (docs/formats/wipe-stream.md)."""

import subprocess


def by_openssl(seed: bytes, offset: int, size: int) -> bytes:
    """`offset` is a multiple of 16."""
    derive = [
        "openssl", "kdf", "-keylen", "32", "-kdfopt", "digest:SHA256", "-kdfopt", f"hexkey:{seed.hex()}",
        "-kdfopt", "info:leadglass wipe stream v1", "-binary", "HKDF",
    ]  # fmt: skip
    key = subprocess.run(derive, capture_output=True, check=True).stdout
    encrypt = ["openssl", "enc", "-aes-256-ctr", "-K", key.hex(), "-iv", f"{offset // 16:032x}"]
    return subprocess.run(encrypt, input=bytes(size), capture_output=True, check=True).stdout
