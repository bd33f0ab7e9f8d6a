"""Which host may deliver what another one captured and signed: by a named person's word, for a time, as a record."""
