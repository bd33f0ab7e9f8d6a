"""Sending images on to archives: what the centre does out of its vault and a host out of its spool, by the same rules.

Each side brings its queue, its images and its connections; nothing here opens a socket or a file.
"""
