"""The node agent: what it meters, its books, and the cuts that the operator orders."""
