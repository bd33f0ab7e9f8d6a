"""Storage media: what their first bytes say, whether all of it is encrypted, and writing switched off."""
