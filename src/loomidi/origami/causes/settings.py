"""The numbers of root cause analysis: one set for every system, chosen on training days only.

Read by `origami.causes`. How they were chosen is in docs/causes.md.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class CauseSettings:
    """Deviations are in robust standard deviations, strengths in doublings of a deviation beyond its own past."""

    past_steps: int = 360  # how far back the past goes; six hours of minutes
    least_past: int = 2  # fewer values than this say nothing about what is normal
    relative_floor: float = 0.03  # a change below this part of the usual value is never more than one deviation
    second_floor: float = 0.001  # the same in seconds, for latencies of nearly nothing
    error_floor: float = 0.001  # the same for shares of failed requests
    count_floor: float = 0.02  # the same for calls per request and branches
    sampling: float = 1.0  # deviation of a mean over n requests: this part of it, through the square root of n
    quantile: float = 0.9  # of the past's own deviations, beyond which a deviation is news
    usual: float = 2.0  # the least that this quantile is taken to be
    most_usual: float = 6.0  # and the most: a past full of incidents must not hide the next one
    cap: float = 8.0  # doublings beyond which more is not worse
    resource_weight: float = 1.0  # processor and memory are the entity's own
    self_weight: float = 0.5
    branch_weight: float = 0.5
    calls_weight: float = 0.5
    gap_weight: float = 1.0
    latency_weight: float = 0.5
    error_weight: float = 1.0
    passing: float = 0.95  # the most of a latency or of errors that others can explain
    remote_weight: float = (
        0.5  # what is only seen from its callers is believed less than what is measured on both sides
    )
    rounds: int = 32  # of passing blame on; call graphs are less deep
    alarm: float = 1.0  # a symptom of at least this is asked for its causes
    sure: float = 2.0  # a weaker one too, when a cause below it is as clear as this
    walk_return: float = 0.15  # of the fallback's random walk
    most: int = 10  # causes in an answer
