"""Trained models in a running pipeline: a champion that alarms at everything goes by itself, a challenger beside it."""

import json
import time

import pytest

from tests.integration.pipeline.running import Pipeline, eventually
from tests.integration.pipeline.test_anomalies import GROUP, findings, metric, publish, scored
from tests.unit.origami.shops import Shop
from tests.unit.services.modelled import shelf_of, trained
from tests.unit.services.test_noticing import LEARNED

pytestmark = [pytest.mark.required, pytest.mark.slow]

PARTS = "bus,probes,anomalies,commit:findings,commit:metrics"
PAIRS = "select value, attributes from metrics where metric_name = 'loomidi_model_edges'"
TOLD = "select pattern, entities[1] as who from findings where pattern = 'model_rolled_back'"


def test_a_bad_champion_is_rolled_back_by_itself_and_told_while_a_challenger_is_scored_and_not_heard(
    pipeline: Pipeline,
) -> None:
    group = {f"LOOMIDI_ANOMALIES_{name}": f"{value:g}" for name, value in GROUP.items()}
    pipeline.environment |= group | {"LOOMIDI_ANOMALIES_WATCH_TICKS": "12"}
    shelf = shelf_of(pipeline.folder)
    good, bad = shelf.previous(), shelf.champion()
    shelf.challenge(trained(pipeline.folder / "newer", seed=2))
    shop = Shop(seed=1)
    pipeline.start(PARTS)
    eventually(pipeline.ready, "the pipeline to be ready")
    publish(pipeline, list(shop.windows(LEARNED)), 0)
    eventually(lambda: scored(pipeline) > 0, "the champion to score")
    eventually(lambda: metric(pipeline, 'loomidi_challenger_total{what="ticks"}') > 0, "the challenger beside it")
    more = list(shop.windows(8))
    publish(pipeline, more, LEARNED)
    back = 'loomidi_champion_total{what="rolled_back"}'
    eventually(lambda: metric(pipeline, back) == 1, "the champion to be taken back")

    assert good is not None
    assert bad is not None
    champion = shelf.champion()
    assert champion is not None
    assert champion.manifest.id == good.manifest.id
    (row,) = eventually(
        lambda: [one for one in findings(pipeline) if one["pattern"] == "model_rolled_back"], "the finding"
    )
    assert row["who"] == "model/edges"
    listed = json.loads(pipeline.loomidi("model", "list", "--json", code=None))
    assert listed["champion"]["id"] == good.manifest.id
    assert listed["history"][-1]["because"].startswith("by itself: ")
    rows = eventually(lambda: pipeline.query(PAIRS), "the scores of both in the lake")
    assert {str(row["attributes"]).count("challenger") for row in rows} == {0, 1}

    publish(pipeline, list(shop.windows(100)), LEARNED + 8)  # the one before is calibrated to the budget of here
    eventually(lambda: metric(pipeline, 'loomidi_anomalies_phase{phase="telling"}') == 1, "the one before to tell")
    before = scored(pipeline)
    publish(pipeline, [shop.scan(0), *shop.windows(2)], LEARNED + 108)
    eventually(lambda: scored(pipeline) > before, "its scores")
    eventually(lambda: any(one["who"] == "workload/tenants/scanner" for one in findings(pipeline)), "the scan")
    time.sleep(0.1)
    assert pipeline.stop(PARTS) == 0
