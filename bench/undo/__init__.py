"""The parts of bench/fold_undo.py: who talks, what is folded, what goes wrong meanwhile, and what is compared."""
