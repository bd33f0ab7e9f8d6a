"""Storage commitment: what was captured is promised to the modality once the vault answers for it."""
