"""Composition roots: the only place that picks adapters and wires houses together."""
