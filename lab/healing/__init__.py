"""Self-healing shown on a lab: a fault with Loomidi watching and acting, and the same fault without it.

Called by the verb `heal` and by tests. In: a lab with the shop. Out: when it was detected, folded and over, what users
saw meanwhile; a table for docs/healing.md.
"""
