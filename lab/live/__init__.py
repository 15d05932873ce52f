"""Scenarios before a person's eyes: the verbs that run them, and the picture that loomidi gives of them meanwhile.

Called by `loomidi_lab.cli`. In: a scenario's name, a lab. Out: lines, tables. Running is `staging`; following the
cluster, so that addresses have names, is `recording`.
"""
