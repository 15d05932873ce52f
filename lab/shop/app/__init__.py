"""The shop's services: one codebase, one process per service, run in pods by Debian's Python and libraries.

Nothing of the lab or of Loomidi is imported here, and nothing here is imported by them but the pure modules in tests.
"""
