"""When the kernel wakes the fast lane: the thresholds of its short windows, from the rules that the detectors go by.

Called by whoever opens the shield for a fast lane. In: `rules/detections`. Out: `Watch`. Leaves judging to the
detectors.
"""

from loomidi.loom.capture import Limits, Watch
from loomidi.origami.online import load_rules


def waking() -> Watch:
    """At the least of which any detector makes a finding.

    Lower, and the one telling per cause and window is spent on a suspect that nobody can judge yet; higher, and time
    is lost. What a service sees from all together is told later: at what is unusual even for a busy one.
    """
    rules = {pattern: rule.suspect for pattern, rule in load_rules().items()}
    source = Limits(
        packets=int(rules["udp_flood"]["packets"]),
        octets=25_000_000,
        syns=int(rules["syn_flood"]["packets"]),
        ports=int(rules["vertical_scan"]["ports"]),
        peers=int(rules["horizontal_scan"]["hosts"]),
    )
    service = Limits(packets=5_000, octets=100_000_000, syns=2 * source.syns, peers=100)
    return Watch(window_s=1.0, source=source, service=service)
