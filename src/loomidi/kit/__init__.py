"""Settings, clock and logging; imports no other house."""
