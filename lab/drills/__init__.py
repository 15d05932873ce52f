"""Drills: every attack, failure and look-alike of the lab, without Loomidi and with it acting by itself.

Called by the verb `drill` and by tests. In: a lab with the shop. Out: a line for each run, and the table of
docs/resilience.md. One scenario closely: `healing`.
"""
