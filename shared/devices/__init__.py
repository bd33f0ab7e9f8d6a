"""Devices that are attached to a modality host, the rules for them, and the verdicts.  docs/formats/device-policy.md"""
