"""The centre: identity, policy, keys, vault, audit log, and the three doors people and hosts come through."""

VERSION = "0.1.0"
# What a certificate names as the program that made it.
SOFTWARE = f"leadglass-server {VERSION}"
