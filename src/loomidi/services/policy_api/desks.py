"""What the handlers work with: shelf, judge, engines, tallies, made from settings.

Called by `serving`. In: settings, the environment. Out: one `Desk`, closed at the end. Raises what a person must mend:
PolicyHeld (another service has the folder), EnvironmentLacks (no cluster, no file), UsageError (no URL).
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx

from loomidi.contracts import EnvironmentLacks, UsageError
from loomidi.ionic.act.kube import KubeApi, Patience
from loomidi.ionic.policies import (
    FILE_NAME,
    Deployer,
    Engine,
    Judge,
    JudgeSettings,
    KyvernoEngine,
    Opa,
    OpaEngine,
    PolicyType,
    Reports,
    Shelf,
    Tally,
)
from loomidi.loom.sources.clusters import access
from loomidi.services.policy_api.settings import PolicySettings


@dataclasses.dataclass(frozen=True, slots=True)
class Desk:
    """Everything that a request may need."""

    shelf: Shelf
    judge: Judge
    deployer: Deployer
    decisions: Tally  # of the decision log
    opa: Opa | None
    reports: Reports | None  # of the cluster


@contextlib.contextmanager
def desk(
    settings: PolicySettings, environment: Mapping[str, str], fault: Callable[[str], None] = lambda _name: None
) -> Iterator[Desk]:
    """Until the context ends."""
    with contextlib.ExitStack() as held:
        opa = Opa(held.enter_context(_opa_client(settings))) if settings.opa else None
        api = _cluster(settings, environment, held)
        engines: dict[PolicyType, Engine] = {}
        if opa is not None:
            engines[PolicyType.REGO] = OpaEngine(opa)
        if api is not None:
            engines[PolicyType.KYVERNO] = KyvernoEngine(api)
        shelf = Shelf(settings.state / FILE_NAME)
        held.callback(shelf.close)
        judge = Judge(JudgeSettings(settings.kyverno), opa)
        deployer = Deployer(shelf, judge, engines, verify_s=settings.verify_s, fault=fault)
        yield Desk(shelf, judge, deployer, Tally(), opa, Reports(api) if api is not None else None)


def _opa_client(settings: PolicySettings) -> httpx.Client:
    if not settings.opa.startswith(("http://", "https://")):
        raise UsageError(f"--opa {settings.opa}: give a URL, such as http://127.0.0.1:8181")
    headers = {"Authorization": f"Bearer {_token(settings.opa_token_file)}"} if settings.opa_token_file else {}
    return httpx.Client(base_url=settings.opa, headers=headers, timeout=settings.engine_s, trust_env=False)


def _token(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentLacks(f"{file} cannot be read; name a file with OPA's token") from error


def _cluster(settings: PolicySettings, environment: Mapping[str, str], held: contextlib.ExitStack) -> KubeApi | None:
    """The cluster that is named, or the pod's own; a developer's ~/.kube/config is not taken unasked."""
    if settings.kubeconfig is None and not environment.get("KUBERNETES_SERVICE_HOST"):
        return None
    client = held.enter_context(access(settings.kubeconfig, environment).blocking(settings.engine_s))
    return KubeApi(client, Patience(tries=2))
