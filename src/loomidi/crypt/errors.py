"""The error tree of this house.

Refused
`-- SignatureInvalid   the statement was not signed by that key, or was changed since
InputError
|-- BadKey             a key that cannot be read, or that others can read too
`-- BadEnvelope        not a signed statement of the kind that was asked for
"""

from loomidi.contracts import InputError, Refused


class SignatureInvalid(Refused):
    """Ask who is named in it to sign again."""


class BadKey(InputError):
    """Make one by `loomidi fold keygen`."""


class BadEnvelope(InputError):
    """The message says what is wrong."""
