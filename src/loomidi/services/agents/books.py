"""The node agent's part of the loss balance: what it tells of each link, and what it closes of a run that was killed.

Called by `agent`. In: tallies of a capture, what a former run has kept. Out: counts for the stream `counters`, and the
file in which the last told ones are kept. A run that ended without closing its books has packets in flows that nobody
has any more; whoever starts next tells them, under that run's epoch, as `recovered` or `uncovered`: nothing stays open.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import InputError
from loomidi.loom.sources.capturing import Adopted, Tally
from loomidi.services.shared.counting import Count


def counts_of(link: str, tally: Tally) -> list[Count]:
    """Stages capture and export of one link."""
    told = [Count("capture", "", link, name, "packets", value) for name, value in tally.packets.items()]
    parts = {"exported": tally.exported, "open": tally.open}
    parts |= {name: value for name in ("undelivered", "uncovered") if (value := getattr(tally, name))}
    told += [Count("export", "flows", link, name, "packets", value) for name, value in parts.items()]
    return [*told, Count("export", "flows", link, "exported", "flows", tally.flows)]


@dataclasses.dataclass(frozen=True, slots=True)
class Books:
    """What a run has told last."""

    node: str
    epoch: int
    ended: bool  # in order: nothing is open, nothing waits
    links: Mapping[str, Tally]
    gone: tuple[Count, ...] = ()  # what had become of the flows that were offered to the publisher
    counted_ns: int = 0  # of these counts; what closes them is later, whatever the clock says

    @property
    def known(self) -> frozenset[str]:
        """Identities of shields whose counts are in here."""
        return frozenset(tally.identity for tally in self.links.values() if tally.identity)


def closing(books: Books, adopted: Mapping[str, Adopted]) -> list[Count]:
    """The last counts of a former run, told by its successor. `adopted`: shields that went on counting.

    Packets that were in open flows are `recovered` when they were still in the kernel, `uncovered` when no flow shows
    them. Rows that waited in the memory of a run that was killed are `in_doubt`: the bus has them, or nobody has. A
    link whose counter ended with the run keeps what was told of it.
    """
    told = [] if books.ended else [one for count in books.gone for one in _doubted(count)]
    for link, tally in books.links.items():
        here = _same(tally, adopted.get(link))
        if here is not None or not books.ended:
            told += _told(link, tally, here)
    return told


def closed(books: Books, adopted: Mapping[str, Adopted]) -> dict[str, Tally]:
    """The same as tallies with nothing open, for a successor that counts on within the same run."""
    return {link: _closed(tally, _same(tally, adopted.get(link))) for link, tally in books.links.items()}


def _doubted(count: Count) -> list[Count]:
    if count.name != "waiting":
        return [count]
    doubted = [count._replace(name="in_doubt")] if count.value else []
    return [count._replace(value=0), *doubted]


def _same(tally: Tally, here: Adopted | None) -> Adopted | None:
    return here if here is not None and here.identity == tally.identity else None


def _told(link: str, tally: Tally, here: Adopted | None) -> list[Count]:
    recovered = here.recovered if here else 0
    told = [one for one in counts_of(link, _closed(tally, here)) if (one.name, one.unit) != ("exported", "packets")]
    told.append(Count("export", "flows", link, "exported", "packets", tally.exported))
    return [*told, Count("export", "flows", link, "recovered", "packets", recovered)] if recovered else told


def _closed(tally: Tally, here: Adopted | None) -> Tally:
    """With what the shield had counted when we took over, and all that no flow shows as `uncovered`."""
    if here is not None:
        grown = {name: value - tally.base.get(name, 0) for name, value in here.packets.items()}
        grown = {name: value for name, value in grown.items() if value or name in tally.packets}
        tally = dataclasses.replace(tally, packets=grown, exported=tally.exported + here.recovered)
    return dataclasses.replace(tally, uncovered=tally.uncovered + tally.open)


def kept(path: Path) -> Books | None:
    """What the last run has kept. Raises InputError for a file that is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        links = {link: Tally(**tally) for link, tally in found.pop("links").items()}
        gone = tuple(Count(*count) for count in found.pop("gone", ()))
        return Books(**found, links=links, gone=gone)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no counts of an agent; remove it, what it says is lost then") from error


def keep(path: Path, books: Books) -> None:
    """Durable and whole, or as before."""
    document: dict[str, Any] = dataclasses.asdict(books)
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(document, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
