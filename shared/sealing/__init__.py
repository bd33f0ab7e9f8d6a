"""The sealed object: binding, wrap, body, sealed index and capture record.  docs/formats/sealed-object.md"""
