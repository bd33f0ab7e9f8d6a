"""Signed policy: fetched, verified, accepted, in force.  docs/formats/policy.md"""
