"""The journal of one run, read once and kept in step with what is stored.

Called by `commands` and `walking`. In: the entries of a run. Out: what happened at a place, the last or each.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from loomidi.contracts import content_id
from loomidi.ionic.playbooks.runs import Entry, Run, Runs


class Journal:
    """What a run has written down so far."""

    def __init__(self, runs: Runs, run: Run) -> None:
        self._runs = runs
        self._run = run
        self._entries: list[Entry] = runs.entries(run.id)
        self._at: dict[tuple[str, str], list[Entry]] = {}
        for entry in self._entries:
            self._at.setdefault((entry.key, entry.event), []).append(entry)

    @property
    def began_ns(self) -> int:
        """When the run began, epoch."""
        return self._run.began_ns

    def note(self, key: str, event: str, detail: Mapping[str, Any]) -> Entry:
        """Durable when it returns."""
        entry = self._runs.note(self._run.id, key, event, detail)
        self._entries.append(entry)
        self._at.setdefault((key, event), []).append(entry)
        return entry

    def last(self, key: str, event: str) -> dict[str, Any] | None:
        """The detail of the latest such entry."""
        found = self._at.get((key, event))
        return dict(found[-1].detail) if found else None

    def each(self, key: str, event: str) -> Iterator[Mapping[str, Any]]:
        """The details, oldest first."""
        return (entry.detail for entry in self._at.get((key, event), ()))

    def begun_ns(self, key: str) -> int:
        """When a step was begun first: its delay and its timeout count from there, also after a crash."""
        found = self._at.get((key, "begun"))
        return (found[0] if found else self.note(key, "begun", {})).at_ns

    def plans_of(self, of: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Event and detail of what planned something, anywhere or in one step (by its key in the workflow)."""
        return [
            (entry.event, entry.detail)
            for entry in self._entries
            if entry.event in ("planned", "ended") and (of == "all" or f"{of}#" in entry.key)
        ]

    def mark(self, key: str) -> str:
        """The idempotency id of what happens at a place of this run."""
        return content_id("act", {"run": self._run.id, "key": key})

    def all(self) -> tuple[Entry, ...]:
        """Every entry."""
        return tuple(self._entries)
