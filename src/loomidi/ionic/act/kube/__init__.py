"""The Kubernetes driver, for the composition roots alone: it needs httpx, which is an extra."""

from loomidi.ionic.act.kube.agents import Agents, AgentSettings
from loomidi.ionic.act.kube.api import KubeApi, Patience
from loomidi.ionic.act.kube.driver import KubeDriver
from loomidi.ionic.act.kube.kinds import EVERY_KIND, KINDS, Kind, Rule
from loomidi.ionic.act.kube.scenes import KubeSettings

__all__ = [
    "EVERY_KIND",
    "KINDS",
    "AgentSettings",
    "Agents",
    "Kind",
    "KubeApi",
    "KubeDriver",
    "KubeSettings",
    "Patience",
    "Rule",
]
