"""From a modality's C-STORE to a sealed, durable object in the spool."""
