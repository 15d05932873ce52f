"""Random loss on the links of pods, by nftables in the network namespace of their node: numgen draws for each packet.

Called by the python steps of scenario.yaml.
"""

import re
from typing import Any

from loomidi.contracts.errors import InputError
from loomidi_lab.scenarios import guarding
from loomidi_lab.staging.records import EntityRef

TABLE = "scenario_loss"
_COUNTER = re.compile(r"counter packets (\d+)")
# The host's end of a link: what comes in there left the pod, what goes out there is on its way to the pod.
_RULES = """table netdev {table} {{
    chain {name}_{way} {{
        type filter hook {way} device "{link}" priority 0;
        counter
        numgen random mod 100 < {percent} counter drop
    }}
}}
"""


def lose(stage: Any, deployment: str, percent: int, seconds: float) -> None:
    """Drop that share of the packets of each pod for a while, then say how many were dropped."""
    names = {pod["metadata"]["name"] for pod in stage.lookup.pods(EntityRef("Deployment", "shop", deployment))}
    links = [link for link in stage.lab.links() if link.namespace == "shop" and link.pod in names]
    if not links:
        raise InputError(f"no link of shop/{deployment} was found")
    for netns in sorted({link.netns for link in links}):
        rules = "".join(
            _RULES.format(table=TABLE, name=link.name, way=way, link=link.name, percent=percent)
            for link in links
            if link.netns == netns
            for way in ("ingress", "egress")
        )
        begin = f"nft -f - <<'RULES'\n{rules}RULES"
        guarding.guard(stage, netns, begin, f"nft delete table netdev {TABLE}", seconds=seconds, netns=netns)
    stage.pause(float(seconds))
    seen = [_counts(stage, netns) for netns in sorted({link.netns for link in links})]
    stage.heard(f"dropped {sum(drop for drop, _ in seen)} of {sum(all_ for _, all_ in seen)} packets")


def stop_losing(stage: Any) -> None:
    """Take the tables away."""
    for node in stage.lab.nodes:
        guarding.release(stage, node.netns)


def _counts(stage: Any, netns: str) -> tuple[int, int]:
    """Packets dropped and packets seen; counters stand in the order of the rules."""
    listed = stage.lab.run(netns, "nft", "list", "table", "netdev", TABLE).stdout
    counters = [int(number) for number in _COUNTER.findall(listed)]
    return sum(counters[1::2]), sum(counters[::2])
