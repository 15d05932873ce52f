"""Files in a table's folder that belong to no snapshot: what crashes left behind.

Called by `loomidi lake sweep`. In: a table and an age. Out: the orphans, removed only when asked for. Files are listed
first and the table is read afterwards, so that what is committed in between is no orphan; what is younger than the
safety age may belong to a commit under way.
"""

import dataclasses

from pyiceberg.table import Table

from loomidi.contracts.errors import InputError
from loomidi.loom.lake import expiring, reading
from loomidi.loom.lake.faults import mapped
from loomidi.loom.lake.files import Found
from loomidi.loom.lake.lakes import Lake

_LEAST_AGE_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Swept:
    """What was found in one table's folder."""

    files: int  # all that lie there
    named: int  # that the table knows
    young: int  # unknown, but too young to judge
    orphans: tuple[str, ...]  # locations
    octets: int  # of the orphans
    removed: int


def sweep(lake: Lake, stream: str, *, age_s: float | None = None, remove: bool = False) -> Swept:
    """Find orphans; remove them only with `remove`. Raises InputError for an unknown table or too small an age."""
    age = lake.settings.sweep_age_s if age_s is None else age_s
    if age < _LEAST_AGE_S:
        raise InputError(
            f"a safety age of {age:g} s would take files of commits under way; use {_LEAST_AGE_S:g} or more"
        )
    table = lake.find(stream)
    with mapped(f"table {stream}"):
        found = list(reading.files_of(table).below(table.location()))
        known = lake.at(stream, referenced)
        unknown = [each for each in found if _plain(each.location) not in known]
        before_ns = lake.clock.now_ns() - round(age * 1e9)
        orphans = [each for each in unknown if each.changed_ns < before_ns]
        removed = reading.files_of(table).remove(each.location for each in orphans) if remove else 0
    return _told(found, unknown, orphans, removed)


def _told(found: list[Found], unknown: list[Found], orphans: list[Found], removed: int) -> Swept:
    return Swept(
        files=len(found),
        named=len(found) - len(unknown),
        young=len(unknown) - len(orphans),
        orphans=tuple(sorted(each.location for each in orphans)),
        octets=sum(each.octets for each in orphans),
        removed=removed,
    )


def referenced(table: Table) -> set[str]:
    """Every file that the table needs, of any snapshot, and its own history."""
    metadata = table.metadata
    names = {table.metadata_location, *(each.metadata_file for each in metadata.metadata_log)}
    names |= {each.statistics_path for each in metadata.statistics}
    names |= {each.manifest_list for each in metadata.snapshots if each.manifest_list}
    manifests = {each.manifest_path: each for one in metadata.snapshots for each in one.manifests(table.io)}
    names |= set(manifests) | expiring.live(table, manifests.values())
    return {_plain(name) for name in names}


def _plain(location: str) -> str:
    """Without what may be written in several ways."""
    return location.partition("://")[2] or location
