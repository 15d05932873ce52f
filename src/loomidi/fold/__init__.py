"""The Fold resource (`resources`) and the operator that carries Folds through their life (`operator`)."""
