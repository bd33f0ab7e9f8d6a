"""The name of a layer: a part of the organisation with a policy of its own."""

LAYER_PATTERN = r"[a-z][a-z0-9-]{0,31}"
