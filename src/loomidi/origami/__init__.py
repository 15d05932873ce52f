"""Detecting: what is not normal in flows and sources, and which fold fits."""
