"""The Fold resource and its reconciler (from the operator release on)."""
