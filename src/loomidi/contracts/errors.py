"""The error tree of the project; each house derives its own branch from one of these.

    LoomidiError               anything we raise on purpose; `str(error)` says what to do next
    |-- UsageError             the command or argument is wrong                      exit 2
    |-- InputError             a file, capture or document cannot be used            exit 2
    |-- EnvironmentLacks       a privilege, tool or kernel feature is missing        exit 2
    |-- Conflict               somebody else holds what we want; not ours to take    exit 2
    |-- Refused                policy, a guard or a person said no                   exit 1
    `-- Retryable              may work when tried again unchanged                   exit 2

Foreign exceptions are mapped in the adapter that met them and kept as `__cause__`.
"""


class LoomidiError(Exception):
    """Base of all errors raised on purpose. The message names what to do next."""

    exit_code = 2


class UsageError(LoomidiError):
    """The caller asked for something that makes no sense as written."""


class InputError(LoomidiError):
    """What was given to read cannot be read (further)."""


class EnvironmentLacks(LoomidiError):
    """This machine or process lacks a privilege, tool or kernel feature."""


class Conflict(LoomidiError):
    """The thing asked for is held by somebody else, such as a second agent on one interface."""


class Refused(LoomidiError):
    """A guard, a policy or a person denied it. Not a fault, and not to be retried unchanged."""

    exit_code = 1


class Retryable(LoomidiError):
    """A passing fault: the same call may work later."""
