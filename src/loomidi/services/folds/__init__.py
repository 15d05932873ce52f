"""Findings become Folds, and people and the operator bring them to their end."""
