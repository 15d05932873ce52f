"""`loomidi lake`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from loomidi.conductor.cli import guarded, loomidi
from loomidi.conductor.verbs.lake import moment
from loomidi.contracts.errors import UsageError
from loomidi.loom.lake import Committer, Lake, LakeSettings
from tests.unit.loom.lake import batches
from tests.unit.loom.lake.batches import message, messages

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls the verb on a lake with metrics and flows in `tmp_path`/lake; gives exit code, output, errors."""
    with Lake(LakeSettings(folder=tmp_path / "lake", durable=False)) as lake:
        with Committer(lake, "metrics") as committer:
            for at in range(2):
                committer.take(messages(50, first=50 * at))
                committer.commit()
        with Committer(lake, "flows") as committer:
            committer.take([message(batches.envelope(batches.flows(10), 0, stream="flows"), 1)])
            committer.commit()

    def call(*words: str, lake: str = "lake") -> tuple[int, str, str]:
        arguments = ["lake", "--lake", str(tmp_path / lake), *words]
        code = guarded(lambda: loomidi.main(arguments, standalone_mode=False))
        return (code or 0, *capsys.readouterr())

    return call


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_table_for_people_has_a_hundred_rows_and_says_that_there_are_more(run: Run) -> None:
    code, out, err = run("query", "select value from metrics order by value")
    assert (code, len(out.split())) == (0, 102)
    assert "the first 100 rows" in err
    assert "the first" not in run("query", "select value from metrics", "--limit", "7")[2]


def test_json_is_a_line_a_row_with_all_rows(run: Run) -> None:
    code, out, _ = run("query", "--json", "select timestamp, timestamp_ns, attributes from metrics order by value")
    rows = lines(out)
    assert (code, len(rows)) == (0, 300)
    assert rows[1] == {
        "timestamp": "2023-11-14T22:00:00.001000Z",
        "timestamp_ns": 1_699_999_200_001_000_008,
        "attributes": {"core": "1", "mode": "idle"},
    }


def test_a_flow_id_is_the_number_that_the_meter_gave(run: Run) -> None:
    _, out, _ = run("query", "--json", "select flow_id from flows")
    assert sorted(row["flow_id"] for row in lines(out)) == sorted(batches.flows(10).column("flow_id").to_pylist())


def test_parquet_holds_the_answer(run: Run, tmp_path: Path) -> None:
    code, _, err = run("query", "--parquet", str(tmp_path / "out.parquet"), "select * from metrics")
    assert (code, pq.read_table(tmp_path / "out.parquet").num_rows) == (0, 300)
    assert "300 rows" in err
    assert [each.name for each in tmp_path.glob("*out*")] == ["out.parquet"]


def test_wrong_sql_is_one_line_and_exit_code_2(run: Run) -> None:
    for sql in ("selec 1", "select * from nowhere", "copy metrics to 'x'"):
        code, out, err = run("query", sql)
        assert (code, out, err.count("\n")) == (2, "", 1)
    assert "There are flows, metrics" in run("query", "select * from nowhere")[2]


def test_an_empty_lake_is_told_and_not_made(run: Run, tmp_path: Path) -> None:
    assert run("query", "select * from flows", lake="other")[0] == 2
    code, out, err = run("tables", lake="other")
    assert (code, out) == (0, "")
    assert "empty" in err
    assert not (tmp_path / "other").exists()


def test_tables_and_snapshots(run: Run) -> None:
    flows, metrics = lines(run("tables", "--json")[1])
    assert (flows["table"], flows["rows"], metrics["rows"], metrics["files"]) == ("flows", 10, 300, 2)
    assert json.loads(str(metrics["position"])) == {"0": 100}
    seen = lines(run("snapshots", "metrics", "--json")[1])
    assert [row["rows"] for row in seen] == [150, 300]
    counted = run("query", "--json", "--as-of", str(seen[0]["id"]), "select count(*) as rows from metrics")[1]
    assert lines(counted) == [{"rows": 150}]
    assert "metrics" in run("tables")[1]
    assert run("snapshots", "nowhere")[0] == 2


def test_compact_expire_and_sweep_tell_what_they_did(run: Run, tmp_path: Path) -> None:
    (done,) = lines(run("compact", "--json")[1])
    assert (done["table"], done["hour"], done["files_before"], done["rows"]) == ("metrics", "2023-11-14T22Z", 2, 300)
    assert run("compact")[2].strip() == "loomidi: nothing to compact"
    expired = lines(run("expire", "metrics", "--older-than", "0s", "--keep", "1", "--json")[1])
    assert (expired[0]["snapshots"], expired[0]["kept"]) == (1, 2)  # compaction's forerunner has its grace time
    code, out, _ = run("sweep", "--json")
    assert code == 0
    assert [row["orphans"] for row in lines(out)] == [[], []]


def test_a_dry_sweep_that_finds_orphans_is_exit_code_1(run: Run, tmp_path: Path) -> None:
    import os

    orphan = next((tmp_path / "lake").rglob("data")) / "orphan.parquet"
    orphan.write_bytes(b"x")
    os.utime(orphan, (0, 0))
    assert run("sweep")[0] == 1
    assert run("sweep", "--remove", "--age", "2d")[0] == 0
    assert not orphan.exists()


def test_the_lake_of_a_configuration_file_and_of_the_environment(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "loomidi.toml"
    file.write_text(f'[lake]\nfolder = "{tmp_path / "lake"}"\n[bus]\nurl = "memory://"\n')
    assert guarded(lambda: loomidi.main(["lake", "--config", str(file), "tables"], standalone_mode=False)) == 0
    assert "metrics" in capsys.readouterr().out
    monkeypatch.setenv("LOOMIDI_LAKE_FOLDER", str(tmp_path / "lake"))
    assert guarded(lambda: loomidi.main(["lake", "tables"], standalone_mode=False)) == 0
    assert "metrics" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-11-26T12:03:00Z", 1_795_694_580 * 10**9),
        ("2026-11-26T12:03:00", 1_795_694_580 * 10**9),
        ("2026-11-26T14:03:00+02:00", 1_795_694_580 * 10**9),
        ("15m", 100 * 10**9),
        ("0.5h", -800 * 10**9),
    ],
)
def test_a_moment_is_a_time_or_so_long_ago(text: str, ns: int) -> None:
    assert moment(text, 1_000 * 10**9) == ns


def test_what_is_no_moment_is_refused() -> None:
    with pytest.raises(UsageError, match="no time"):
        moment("yesterday", 0)


WITHOUT = """
import sys
sys.modules["pyiceberg"] = None
from loomidi.conductor.cli import guarded, loomidi
calls = (["query", "select 1"], ["tables"], ["compact"], ["expire"], ["sweep"])
print([guarded(lambda: loomidi.main(["lake", *words], standalone_mode=False)) for words in calls])
"""


def test_without_the_libraries_it_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout == "[2, 2, 2, 2, 2]\n"
    assert done.stderr.count("pip install 'loomidi[pipeline]'") == 5
