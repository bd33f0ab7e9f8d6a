"""The centre: identity, policy, keys, vault, audit log, and the three doors people and hosts come through."""
