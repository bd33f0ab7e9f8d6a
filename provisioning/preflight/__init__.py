"""Looks before anything is installed: is this machine fit to be a host, and can it reach its centre?"""
