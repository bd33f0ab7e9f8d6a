"""What proves an image years later to somebody who trusts neither its archive nor us."""
