"""The error tree of the operator.

Conflict
`-- NotLeading    another replica holds the lease: this one writes nothing more
InputError
`-- BadApprovers  the file of who may approve cannot be used
Refused
`-- NotApprovable what shall be approved is not there to be approved yet, or no more
"""

from loomidi.contracts import Conflict, InputError, Refused


class NotLeading(Conflict):
    """Stop before the next write; whoever holds the lease goes on from what is stored."""


class BadApprovers(InputError):
    """The message names the entry; until it is right nobody can approve."""


class NotApprovable(Refused):
    """The message says why, and what to do first."""
