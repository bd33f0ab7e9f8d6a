"""The host's audit journal and its way to the centre.  docs/formats/audit-record.md"""
