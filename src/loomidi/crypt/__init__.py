"""Keys of people, and statements that they sign; attestation, key release and the ledger from the crypt release on."""
