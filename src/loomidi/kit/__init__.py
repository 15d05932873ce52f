"""Settings, clock, logging and counters; imports no other house."""
