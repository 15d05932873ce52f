"""The `loomidi-lab` command: finds a verb, runs it; one line and an exit code for every failure.

Called by the console script. In: arguments. Out: the exit code (0 ok, 1 void or refused, 2 usage or environment, 130
interrupted), as for `loomidi`. The verbs are functions of the parts they belong to, imported only when called.
"""

import importlib
import sys
from collections.abc import Sequence

import click

from loomidi import __version__
from loomidi.conductor.cli import guarded

# verb -> (module, command in it, help line)
VERBS = {
    "build": ("cluster.commands", "build", "build the cluster's binaries and images, once (resumable)"),
    "up": ("cluster.commands", "up", "bring a cluster up: real nodes, real pods"),
    "down": ("cluster.commands", "down", "take it down; nothing stays"),
    "status": ("cluster.commands", "status", "labs that are up, and what of them does not run"),
    "kubeconfig": ("cluster.commands", "kubeconfig", "the path of the kubeconfig, or its text"),
    "kubectl": ("cluster.commands", "kubectl", "the lab's kubectl on the lab"),
    "exec": ("cluster.commands", "execute", "a command in a pod, on a node, or in the outside"),
    "load": ("cluster.commands", "load", "give rebuilt images to running nodes"),
    "restart": ("cluster.commands", "restart", "switch a node off as by its power, and on again"),
    "logs": ("cluster.commands", "logs", "what a part of the lab, or a pod, has logged"),
    "shop": ("shop.commands", "shop", "the sample application: deploy, load, status, remove"),
    "scenarios": ("live.commands", "scenarios", "attacks, failures and look-alikes that can be run"),
    "run": ("live.commands", "run", "run a scenario, watched by loomidi, its symptoms confirmed"),
    "heal": ("healing.commands", "command", "faults with Loomidi acting by itself and without it, compared"),
    "drill": ("drills.commands", "command", "every scenario with Loomidi acting by itself and without it, in a table"),
    "redteam": ("redteam.commands", "command", "a catalogue of attacks against the fast lane, in namespaces"),
    "sweep": ("live.commands", "sweep", "take back what a killed run has left"),
    "table": ("live.commands", "table", "renew the table of docs/lab.md from what was run"),
    "record": ("recording.commands", "record", "record a schedule of scenarios with its truth"),
    "plans": ("recording.commands", "plans", "what a recording would hold"),
    "verify": ("recording.commands", "verify", "check a recording"),
    "compare": ("recording.commands", "compare", "whether two recordings differ in measured values only"),
}


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb; None for one that is not in the table."""
        if cmd_name not in VERBS:
            return None
        module, name, _ = VERBS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"loomidi_lab.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help list from the table, so that `--help` imports no verb."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, _, line) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="loomidi-lab %(version)s")
def lab() -> None:
    """Real Kubernetes clusters on one Linux machine, without Docker, with a red team inside.

    Exit codes: 0 ok, 1 a run is void or a recording damaged, 2 usage or environment.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    sys.exit(guarded(lambda: lab.main(args=arguments, prog_name="loomidi-lab", standalone_mode=False), "loomidi-lab"))
