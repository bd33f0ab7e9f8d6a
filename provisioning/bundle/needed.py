"""Which Debian packages the bundle carries: what the agent's package needs beyond Debian 12 with systemd and udev.

A host keeps those that it has. The TPM's are there because a host without them would keep its keys in files.
"""

PYTHON = (
    "libbz2-1.0", "libdb5.3", "libexpat1", "libffi8", "libgssapi-krb5-2", "libk5crypto3", "libkeyutils1", "libkrb5-3",
    "libkrb5support0", "libncursesw6", "libnsl2", "libpython3-stdlib", "libpython3.11-minimal", "libpython3.11-stdlib",
    "libreadline8", "libsqlite3-0", "libssl3", "libtinfo6", "libtirpc-common", "libtirpc3", "libuuid1", "media-types",
    "python3", "python3-minimal", "python3.11", "python3.11-minimal", "readline-common",
)  # fmt: skip
TPM = (
    "libtss2-esys-3.0.2-0", "libtss2-mu0", "libtss2-rc0", "libtss2-sys1", "libtss2-tcti-cmd0", "libtss2-tcti-device0",
    "libtss2-tcti-mssim0", "libtss2-tcti-swtpm0", "tpm-udev",
)  # fmt: skip
NEEDED = (*PYTHON, *TPM)
AGENT = "leadglass-agent"
