"""Failures of catalog, object store and disk as errors of the house.

Used around every call of `loom.lake` that leaves the process. In: foreign exceptions. Out: the tree of
`contracts.errors`, the cause kept; the type says whether the same call may work later.
"""

import contextlib
import errno
from collections.abc import Iterator

from loomidi.contracts.errors import EnvironmentLacks, InputError, LoomidiError, Retryable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = (
    "no space left",
    "disk is full",
    "disk quota",
    "file too large",
    "xminiostoragefull",
    "insufficient storage",
)


class LakeFull(Retryable):
    """No room for more; what is committed stays, what is not stays with the caller until there is room again."""


class FileGone(InputError):
    """A file that a table named is not there: the snapshot that was looked at has expired meanwhile, or worse."""


class LakeAway(Retryable):
    """Catalog or files do not answer; nothing is lost, the same call may work later."""


@contextlib.contextmanager
def mapped(what: str) -> Iterator[None]:
    """Run the block; what fails in it is told in our words, beginning with `what`. CommitFailedException passes."""
    from pyiceberg.exceptions import CommitFailedException, RESTError

    try:
        yield
    except (LoomidiError, CommitFailedException):
        raise
    except (OSError, RESTError) as error:
        raise _of(what, error) from error
    except Exception as error:
        told = _foreign(what, error)
        if told is None:
            raise
        raise told from error


def _of(what: str, error: Exception) -> LoomidiError:
    from pyiceberg.exceptions import AuthorizationExpiredError, ForbiddenError, OAuthError, UnauthorizedError

    line = said(error)
    if is_full(error):
        return LakeFull(f"{what}: no room left; free some, then it goes on where it was ({line})")
    if isinstance(error, UnauthorizedError | ForbiddenError | OAuthError | AuthorizationExpiredError | PermissionError):
        return EnvironmentLacks(f"{what}: not allowed; check the lake's folder, keys and credential ({line})")
    if isinstance(error, FileNotFoundError):
        return FileGone(f"{what}: a file that the table names is gone ({line})")
    return LakeAway(f"{what}: {line}; tried again it may work")


def _foreign(what: str, error: Exception) -> LoomidiError | None:
    """Of the SQLite catalog, and of HTTP below the REST catalog."""
    from pyiceberg.exceptions import NoSuchIcebergTableError, NoSuchNamespaceError, NoSuchTableError
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, DBAPIError):
        return _of(what, error)
    if isinstance(error, NoSuchTableError | NoSuchNamespaceError | NoSuchIcebergTableError):
        return InputError(f"{what}: {said(error)}")
    return None


def is_full(error: Exception) -> bool:
    """Whether it says that there is no room."""
    text = str(error).lower()
    return getattr(error, "errno", None) in _FULL or any(words in text for words in _FULL_WORDS)


def said(error: Exception) -> str:
    """In one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:300] or type(error).__name__
