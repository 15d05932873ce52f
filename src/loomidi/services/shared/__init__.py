"""What parts of a service have in common: the bus and the lake, probes, supervision, counters."""
