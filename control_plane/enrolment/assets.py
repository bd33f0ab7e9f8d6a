"""When two spellings are of one asset. By itself, so that a person's command reads a list without a database."""


def asset_key(asset: str) -> str:
    """Return what two spellings of one asset have in common: neither case nor white space makes another one."""
    return " ".join(asset.split()).casefold()
