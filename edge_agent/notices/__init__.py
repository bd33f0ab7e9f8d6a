"""What the people at the machine are told about its devices, in their language.  docs/guides/technologist.md"""
