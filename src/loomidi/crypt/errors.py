"""The error tree of this house.

Refused
|-- SignatureInvalid   the statement was not signed by that key, or was changed since
`-- NotSigned          an image's signature that does not verify, or is for something else
InputError
|-- BadKey             a key that cannot be read, or that others can read too
`-- BadEnvelope        not a signed statement of the kind that was asked for
"""

from loomidi.contracts import InputError, Refused


class SignatureInvalid(Refused):
    """Ask who is named in it to sign again."""


class NotSigned(Refused):
    """The message says what did not hold; whoever asked goes on with a denial."""


class BadKey(InputError):
    """Make one by `loomidi fold keygen`; for images by `cosign generate-key-pair`."""


class BadEnvelope(InputError):
    """The message says what is wrong."""
