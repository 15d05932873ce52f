"""The error tree of the operator.

Conflict
`-- NotLeading    another replica holds the lease: this one writes nothing more
"""

from loomidi.contracts import Conflict


class NotLeading(Conflict):
    """Stop before the next write; whoever holds the lease goes on from what is stored."""
