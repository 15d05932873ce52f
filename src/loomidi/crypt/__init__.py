"""Attestation, key release and the ledger (from the crypt release on)."""
