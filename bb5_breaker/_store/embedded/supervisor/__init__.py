"""The process that owns the embedded server.

It runs the modules of this folder without the rest of the package, as a top-level package, so
that it starts fast and stays small. So they import the standard library, and each other by
relative imports, and nothing else.
"""
