"""Which real servers a run of the tests has started, told at its end: what was covered by the thing itself.

Called by whoever starts a server for tests. A name that is missing in the last lines of a run was not covered by it.
"""

import importlib.metadata

RAN: dict[str, str] = {}


def ran(server: str, version: str) -> None:
    """A server of that version has started; `version` may say how, such as "4.1.0, one KRaft broker"."""
    RAN[server] = version


def wheel(package: str) -> str:
    """The version of a server that comes as a wheel."""
    return importlib.metadata.version(package)


def told() -> str:
    """One line, empty when nothing ran."""
    return ", ".join(f"{server} {version}" for server, version in sorted(RAN.items()))
