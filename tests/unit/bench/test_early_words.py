"""The bench of early words: when an agent tells a flow, and which word counts."""

import pyarrow as pa

from bench.early_words import NS, attack, figures, told_at, usual
from loomidi.loom.windows.synthetic import START_NS


def test_a_flow_is_told_at_the_drain_after_its_end_and_a_silent_one_ten_seconds_later() -> None:
    flows = usual(3, 1)
    late = told_at(flows) - flows.column("flow_end_nanoseconds").cast(pa.int64()).to_numpy()
    silent = [why == "idle" for why in flows.column("flow_end_reason").to_pylist()]
    assert all(0 < one <= NS for one, idle in zip(late.tolist(), silent, strict=True) if not idle)
    assert all(10 * NS < one <= 11 * NS for one, idle in zip(late.tolist(), silent, strict=True) if idle)


def test_an_attack_has_a_source_and_times_of_its_own_second() -> None:
    flows = attack("scan", 4, 1)
    assert set(flows.column("source_workload").to_pylist()) == {"deployment/tenants/attacker"}
    ends = flows.column("flow_end_nanoseconds").cast(pa.int64()).to_numpy()
    assert (ends // NS == START_NS // NS + 4).all()
    assert len(set(flows.column("destination_workload").to_pylist())) == 40


def test_the_earlier_word_counts_and_an_attack_that_nobody_told_is_missing() -> None:
    rows = [{"family": "scan", "early": 3.0, "closed": 14.0}, {"family": "flood", "closed": 20.0}, {"family": "scan"}]
    told = figures(
        [{"rows": rows, "quiet_s": 60, "false_early": 1, "false_closed": 0, "counts": {"early_withdrawn": 1}}]
    )
    assert (told["attacks"], told["early_told"], told["closed_told"], told["first_told"]) == (3, 1, 2, 2)
    assert (told["first_median_s"], told["withdrawn"], told["false_early"]) == (11.5, 1, 1)
