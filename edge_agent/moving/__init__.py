"""A dead host's spool and unsent records, carried to another host by a person.  docs/formats/spool-export.md"""
