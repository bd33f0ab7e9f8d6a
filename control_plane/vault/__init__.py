"""The vault: takes sealed objects in, finds them again, opens them for a named person."""
