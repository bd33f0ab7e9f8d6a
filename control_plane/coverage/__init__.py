"""Coverage: what an archive knows of a day, held against what was captured; the difference is a gap."""
