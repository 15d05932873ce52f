"""Drivers that carry out approved plans: check, apply, verify, undo."""
