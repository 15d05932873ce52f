"""The operator on a real API server, as a thread or as a process of its own that a fault point ends.

As a process: `python -m tests.integration.kube.operator.working KUBECONFIG NAMESPACE HOLDER MODE [FAULT]`; at the fault
it is killed by SIGKILL, as a node that dies would do it.
"""

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from loomidi.contracts import Mode
from loomidi.fold.operator import Approvers, SharedKey
from loomidi.fold.operator.leading import Leadership, LeaseSettings
from loomidi.fold.operator.running import Operator, RunSettings
from loomidi.ionic.act.kube import KubeApi, KubeDriver, Patience
from loomidi.ionic.decide import Decider, DeciderSettings, FloorGuard, RegoGuard
from loomidi.loom.sources.clusters import access
from tests.unit.ionic.acting import SIGNER

LASTS_S = 3.0


def an_operator(
    acting: httpx.Client,
    leading: httpx.Client,
    namespace: str,
    holder: str,
    mode: Mode,
    *,
    fault: Callable[[str], None] | None = None,
    at_hand: bool = False,
    approvers: Approvers | None = None,
) -> Operator:
    """`namespace`: where its lease lies. `at_hand`: for an API server with the policies of deployments/admission."""

    def deciders(active: Callable[[], Mapping[str, int]]) -> Callable[[Mode], Decider]:
        @functools.cache
        def decider(of: Mode) -> Decider:
            settings = DeciderSettings(mode=of)
            guards = FloorGuard((), settings.limits, of), RegoGuard(timeout_s=60.0)  # a busy machine is no refusal
            return Decider(guards, (), settings, signer=SIGNER, active=active)

        return decider

    lease = LeaseSettings(namespace=namespace, lasts_s=LASTS_S, renewed_s=0.3)
    return Operator(
        acting,
        lambda api, books: KubeDriver(api, SIGNER, recall=books.recall),
        deciders,
        approvers or SharedKey(SIGNER),
        Leadership(KubeApi(leading, Patience(tries=1)), holder, lease),
        settings=RunSettings(mode=mode, idle_s=0.2, watched_s=1, at_hand=at_hand),
        fault=fault,
    )


def _killed_at(wanted: str, name: str) -> None:
    if name == wanted:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    kubeconfig, space, who, how, *fault_at = sys.argv[1:]
    made = access(Path(kubeconfig), {})
    end = functools.partial(_killed_at, fault_at[0]) if fault_at else None
    acting, leading, at_hand = made.blocking(30.0), made.blocking(30.0), "AT_HAND" in os.environ
    an_operator(acting, leading, space, who, Mode(how), fault=end, at_hand=at_hand).run(threading.Event())
