"""The Fold resource (`resources`) and its reconciler (from the operator release on)."""
