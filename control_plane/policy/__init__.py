"""Signed policy at the centre: written by a person, signed with the person's key, published as TUF metadata."""
