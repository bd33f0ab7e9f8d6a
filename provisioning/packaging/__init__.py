"""The Debian package of a modality host: agent, guard and the field engineer's tools, with their environment inside."""
