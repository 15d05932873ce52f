"""Explaining: evidence, rule, technique, what was done and how it is undone, in plain words."""
