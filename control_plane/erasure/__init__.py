"""Whom private parts of audit records are about, a key for each, and its destruction.  docs/formats/audit-record.md"""
