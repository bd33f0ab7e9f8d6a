"""Ways out: what the vault holds goes on to existing archives, in the form in which the modality sent it."""
