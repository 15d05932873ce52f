"""The catalog that the settings name, opened by pyiceberg.

Called by `loom.lake.lakes`. In: settings. Out: a catalog whose files are read and written by pyarrow alone. A SQLite
file is the default; any Iceberg REST catalog by its URL.
"""

import sqlite3

from pyiceberg.catalog import Catalog

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi.loom.lake.faults import mapped
from loomidi.loom.lake.files import DURABLE, IMPLEMENTATION, as_location
from loomidi.loom.lake.settings import LakeSettings

NAME = "loomidi"
FILE = "catalog.db"


def open_catalog(settings: LakeSettings) -> Catalog:
    """Raises UsageError for a setting that is none, EnvironmentLacks and Retryable for what does not answer."""
    if settings.catalog.startswith(("http://", "https://")):
        return _rest(settings)
    if settings.catalog:
        raise UsageError(f"catalog {settings.catalog!r}: use http:// or https://, or nothing for a file of our own")
    return _sqlite(settings)


def is_there(settings: LakeSettings) -> bool:
    """Whether there is a catalog: that of our own is made by the first committer."""
    return bool(settings.catalog) or (settings.folder.expanduser() / FILE).is_file()


def _files(settings: LakeSettings) -> dict[str, str]:
    """How files are reached. Empty settings are left to the S3 client, which asks the environment."""
    given = {
        "s3.endpoint": settings.s3_endpoint,
        "s3.access-key-id": settings.s3_access_key,
        "s3.secret-access-key": settings.s3_secret_key,
        "s3.region": settings.s3_region,
        "s3.connect-timeout": "5",
        "s3.request-timeout": "30",
    }
    kept = {name: value for name, value in given.items() if value}
    return {"py-io-impl": IMPLEMENTATION, DURABLE: str(settings.durable).lower(), **kept}


def _rest(settings: LakeSettings) -> Catalog:
    from pyiceberg.catalog.rest import RestCatalog

    given = {"credential": settings.credential, "token": settings.token, "warehouse": settings.warehouse}
    if settings.credential:
        given["oauth2-server-uri"] = settings.oauth_url or settings.catalog.rstrip("/") + "/v1/oauth/tokens"
    with mapped(f"the catalog {settings.catalog}"):
        kept = {name: value for name, value in given.items() if value}
        return RestCatalog(NAME, uri=settings.catalog, **kept, **_files(settings))


def _sqlite(settings: LakeSettings) -> Catalog:
    from pyiceberg.catalog.sql import SqlCatalog

    folder = settings.folder.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentLacks(f"{folder}: {error.strerror}; the lake needs a folder that it can write") from error
    warehouse = as_location(settings.warehouse, folder)
    with mapped(f"the catalog in {folder}"):
        _calm(folder / FILE)
        return SqlCatalog(NAME, uri=f"sqlite:///{folder / FILE}", warehouse=warehouse, **_files(settings))


def _calm(path: "object") -> None:
    """Readers and the committers of other tables never wait for each other: a log beside the file."""
    connection = sqlite3.connect(str(path))
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError:
        pass  # somebody is at work in it, who has set it
    finally:
        connection.close()
