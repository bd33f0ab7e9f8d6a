"""The console: keyboard and pointer that work without the guard, and the rescue port.  docs/guides/field-engineer.md"""
