"""Pages for people: what draws them in English and Chinese, and what takes a file out of one again.

A host has this too, and nothing else of the centre.
"""
