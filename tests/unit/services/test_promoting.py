"""Promotions at a cluster: the mode, who, by which report, and an override that stays with it."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import InputError, Mode
from loomidi.fold.operator.views import POLICIES
from loomidi.fold.promoting import NotReady
from loomidi.fold.resources.objects import moment
from loomidi.ionic.act.kube import KubeApi
from loomidi.services.folds import promoting
from loomidi.services.folds.keeping import FILE_NAME, Records
from loomidi.services.folds.promoting import OVERRIDE, PROMOTED, REPORT, Policies, kept_in
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.services.test_keeping import ended


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch) -> Policies:
    api = FakeApi()
    metadata = {"name": "own", "uid": "p1", "creationTimestamp": moment(0), "annotations": {"mine": "stays"}}
    api.put(f"{POLICIES}/own", {"metadata": metadata, "spec": {"mode": "shadow", "allow": []}})
    monkeypatch.setattr(promoting.Desk, "whoami", lambda _: "alice")
    return Policies(KubeApi(api.client()))


def policy(policies: Policies) -> Any:
    return policies.api.get(f"{POLICIES}/own")


def test_without_a_report_that_is_ready_the_mode_stays(policies: Policies) -> None:
    found = policies.report("own", 7.0)
    with pytest.raises(NotReady, match="has not been tried"):
        policies.promote(found, Mode.SUGGEST)
    assert policy(policies)["spec"]["mode"] == "shadow"


def test_an_override_is_on_record_with_report_and_person(policies: Policies) -> None:
    found = policies.report("own", 7.0)
    assert policies.promote(found, Mode.SUGGEST, "the drill") == "shadow to suggest"
    kept = policy(policies)
    notes = kept["metadata"]["annotations"]
    assert (kept["spec"]["mode"], notes[OVERRIDE], notes["mine"]) == ("suggest", "the drill", "stays")
    assert notes[REPORT] == found.as_dict()["hash"]
    assert notes[PROMOTED].startswith("shadow to suggest by alice at ")


def test_the_way_down_takes_the_override_away(policies: Policies) -> None:
    policies.promote(policies.report("own", 7.0), Mode.GUARDED, "the drill")
    policies.promote(policies.report("own", 7.0), Mode.SHADOW)
    kept = policy(policies)
    assert kept["spec"]["mode"] == "shadow"
    assert OVERRIDE not in kept["metadata"]["annotations"]


def test_a_policy_that_was_changed_after_its_report_is_not_promoted(policies: Policies) -> None:
    found, changed = policies.report("own", 7.0), policy(policies)
    change = [{"op": "add", "path": "/spec/priority", "value": 9}]
    policies.api.patch(f"{POLICIES}/own", change, changed["metadata"]["resourceVersion"])
    with pytest.raises(InputError, match="changed after the report"):
        policies.promote(found, Mode.SUGGEST, "the drill")


def test_a_policy_that_is_not_there_is_told(policies: Policies) -> None:
    with pytest.raises(InputError, match="there is no FoldPolicy other"):
        policies.report("other", 7.0)


def test_folds_that_were_removed_are_read_from_their_records(tmp_path: Path) -> None:
    view = ended()
    with contextlib.closing(Records(tmp_path)) as records:
        records.keep(view)
    (fold,) = kept_in(tmp_path / FILE_NAME)
    assert fold["spec"]["plan"]["id"] == view.spec["plan"]["id"]
