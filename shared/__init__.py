"""What both sides of Leadglass must agree on, and only that: formats, names, pure rules.

Nothing here opens a socket or a file; a stream is handed in. Imports the standard library and `cryptography`.
"""
