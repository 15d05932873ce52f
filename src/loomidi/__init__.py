"""Loomidi: from packets to an explained, reversible block."""

__version__ = "0.1.0"
