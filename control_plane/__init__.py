"""The centre: identity, policy, keys, vault, audit log, and the three doors people and hosts come through."""

# What a certificate names as the program that made it.
SOFTWARE = "leadglass-server 0.1.0"
