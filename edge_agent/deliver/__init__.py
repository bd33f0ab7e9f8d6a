"""From the spool to the vault, until the vault's receipt is held."""
