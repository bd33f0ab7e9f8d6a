"""What people are called: it stands in audit records, on the status page, beside keys and in a file's name."""

PERSON_PATTERN = r"\w[\w .@'-]{0,63}"
