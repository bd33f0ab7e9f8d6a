"""Witnesses of the Merkle log: hosts, other sites, and this centre for others.  docs/formats/log-checkpoint.md"""
