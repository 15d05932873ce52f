"""A catalogue of attacks, run for real against the shield and the fast lane in network namespaces, and the table of it.

Called by the verb `redteam` and by `tests/security/redteam`. In: names or a stage, modes. Out: a row for each attack
and mode, a table for docs/resilience.md. No packet leaves the namespaces that a run makes, and it removes them.
"""
