"""Records of Folds that are removed: whole, once, and only of what is as its receipts say."""

import json
from pathlib import Path

import pytest

from loomidi.fold.operator.views import View
from loomidi.ionic.act.receipts import SqliteReceipts
from loomidi.ionic.errors import BadStore
from loomidi.services.folds.keeping import FILE_NAME, Records
from tests.unit.fold.operator.fakes import a_stage


def ended() -> View:
    stage = a_stage()
    stage.until("Released")
    return View(json.loads(json.dumps(stage.fold).replace("2.0", "2")))  # as the API server gives numbers


def test_a_fold_is_kept_whole_and_once_in_a_chain_that_is_sound(tmp_path: Path) -> None:
    view, records = ended(), Records(tmp_path)
    records.keep(view)
    records.keep(View({**view.obj, "counted": "of the shelf"}))
    records.close()
    store = SqliteReceipts(tmp_path / FILE_NAME, read_only=True)
    (kept,) = store.of(view.spec["plan"]["id"])
    assert store.verify_chain().broken_at is None
    assert kept.detail["fold"]["status"] == view.status
    assert (kept.step, kept.inverse) == ("expired", view.receipts[0]["inverse"])
    assert list(store.open_plans()) == []
    store.close()


def test_a_fold_whose_receipts_were_changed_is_not_kept(tmp_path: Path) -> None:
    view = ended()
    status = json.loads(json.dumps(view.status))
    status["receipts"][1]["detail"] = {"done": "something else"}
    records = Records(tmp_path)
    with pytest.raises(BadStore, match="receipt 2 of the Fold was changed"):
        records.keep(View({**view.obj, "status": status}))
    records.close()


def test_one_that_was_never_begun_is_kept_too(tmp_path: Path) -> None:
    stage = a_stage()
    stage.note({"loomidi.io/deny": "no"})
    stage.until("Denied")
    records = Records(tmp_path)
    records.keep(View(stage.fold))
    records.close()
    store = SqliteReceipts(tmp_path / FILE_NAME, read_only=True)
    assert [one.step for one in store.all()] == ["refused"]
    store.close()
