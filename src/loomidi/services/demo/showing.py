"""What the demo looks like: one line per event while it runs, and a table at the end.

Called by the verb. In: events of the story and its `Outcome`. Out: text on a rich console, which drops the colours when
it is piped. Decides nothing.
"""

import threading
import time
from typing import TYPE_CHECKING

from loomidi.services.demo.attacks import Attack
from loomidi.services.demo.stage import Message, Spread
from loomidi.services.demo.story import Outcome

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_VERBS = {"rate": "slow down", "drop": "drop"}
_QUIET_NETWORK = "198.19."  # of the trials: a line for each would be a hundred lines


class Lines:
    """One line per event, with the seconds since the start."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._attack: Attack | None = None

    def scene(self, text: str) -> None:
        """A new part of the story."""
        self._say("", f"[bold]{text}[/]")

    def attack(self, attack: Attack) -> None:
        """An attack begins."""
        self._attack = attack
        self._say("attack", f"[red]{attack.title}[/]")

    def decision(self, decision: Message) -> None:
        """What the defender decided, with how long after the first packet."""
        target = str(decision["target"]).partition("/")[2]
        if target.startswith(_QUIET_NETWORK) or decision["decision"] == "noted":
            return
        if decision["decision"] == "applied":
            after_ms = (decision["decided_ns"] - decision["first_ns"]) / 1e6
            act = _VERBS[decision["action"]]
            self._say(
                "decided",
                f"[yellow]{act} {target}[/]  {decision['pattern']}, {_duration(after_ms)} after its first packet",
            )
        elif decision["decision"] == "refused":
            because = str(decision["because"])
            why = "is in the protected set" if because.startswith("floor/protected") else because
            self._say("refused", f"[cyan]{target}[/]  {why}")
        else:
            self._say(decision["decision"], target)

    def stopped(self, attack: Attack, entry: Message | None, sent: int) -> None:
        """What an attack came to."""
        much = f"{sent:,} sent, " if sent else ""
        if entry is None:
            self._say("", f"{much}nothing stands against it")
            return
        reached = entry["hits"] - entry["dropped"]
        self._say("blocked", f"[green]{much}{entry['dropped']:,} dropped, {reached:,} let through within its rate[/]")

    def line(self, text: str) -> None:
        """Anything else."""
        self._say("", f"[bold red]{text}[/]" if text.startswith("FAILED") else text)

    def _say(self, kind: str, text: str) -> None:
        with self._lock:
            seconds = time.monotonic() - self._start
            self._console.print(f"[dim]{seconds:6.2f} s[/] {kind:9}{text}", highlight=False, soft_wrap=True)


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def summary(outcome: Outcome) -> "Table":
    """The table at the end: every claim with its figure and whether it held."""
    from rich.table import Table

    table = Table(title=f"Loomidi demo on rung {outcome.rung}", title_justify="left", show_header=False, min_width=78)
    table.add_column(style="bold")
    table.add_column()
    trials, balance, benign = outcome.trials, outcome.balance, outcome.benign
    if trials is not None:
        table.add_row("first attack packet -> first drop", _spread(trials.first_packet_to_drop))
        table.add_row("decision -> first drop", _spread(trials.decision_to_drop))
    table.add_row("benign requests", _mark(not benign["lost"], f"{benign['sent']:,} sent, {benign['lost']:,} lost"))
    table.add_row("loss balance", _mark(bool(balance["adds_up"]), _balance(balance)))
    undo = "a blocked address got through again" if outcome.undone else "not verified"
    table.add_row("undo", _mark(outcome.undone, undo))
    table.add_row("attacks", _mark(not outcome.failures, "; ".join(outcome.failures) or "every one was stopped"))
    return table


def _spread(spread: Spread) -> str:
    return f"p50 {spread.p50:.2f} ms, p99 {spread.p99:.2f} ms over {spread.trials} trials"


def _balance(balance: Message) -> str:
    if "received" not in balance:
        return "not drawn up"
    parts = f"{balance['passed']:,} passed + {balance['dropped']:,} dropped + {balance['unparsed']:,} not IP"
    return f"{parts}; {balance['unaccounted']} unaccounted; flows hold {balance['in_flows']:,}"


def _mark(holds: bool, text: str) -> str:
    return f"[green]held[/]    {text}" if holds else f"[bold red]FAILED[/]  {text}"
