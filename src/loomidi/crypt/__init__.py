"""Keys of people, and statements that they sign; signatures of images; attestation and the ledger come."""
