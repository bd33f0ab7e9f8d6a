"""What both sides agree on about wiping a drive: medium, technique, ticket, report, certificate."""
