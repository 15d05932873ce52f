"""Telemetry: capture, flows, and later bus, windows and lake."""
