"""Incidents as tests: what was found is kept with its packets and a tuned threshold, and must be caught again, faster.

`excerpts` cuts headers out of captures, `keeping` writes the folder of an incident, `replays` judges all of them again,
`recording` puts packets of live links aside.
"""
