"""The verb `meter`: forms of output, exit codes, one line for each problem, no half-written files."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from loomidi.conductor.verbs.meter import command
from loomidi.contracts.errors import InputError, UsageError
from loomidi.contracts.schemas import FLOWS
from loomidi.loom.flows import MeterSettings
from tests.integration.captures.rewriting import pcap
from tests.unit.loom.flows import frames as f

START = 1_700_000_000_000_000_000


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Two flows of three packets."""
    path = tmp_path / "capture.pcap"
    frames = [f.segment(f.SYN), f.segment(f.SYN | f.ACK, back=True), f.datagram(b"x")]
    path.write_bytes(pcap([(START + number, frame) for number, frame in enumerate(frames)], nanoseconds=True))
    return path


def run(*arguments: str | Path) -> Result:
    """In this process; errors of ours are raised."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments], standalone_mode=False)


def test_json_lines_on_standard_output(capture: Path) -> None:
    """The default: one object a flow with all columns, times as integers; the balance is on standard error."""
    result = run(capture)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [list(line) for line in lines] == [FLOWS.names] * 2
    assert lines[0]["flow_start_nanoseconds"] == START
    assert result.stderr == "loomidi: 3 packets = 3 accounted in 2 flows\n"


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "ipc", "feather", "arrows", "csv", "jsonl", "ndjson", "json"])
def test_every_form_has_every_column(capture: Path, tmp_path: Path, suffix: str) -> None:
    """Same flows, same columns."""
    output = tmp_path / f"flows.{suffix}"
    assert run(capture, "--output", output).return_value == 0
    assert _names_and_rows(output) == (FLOWS.names, 2)


def _names_and_rows(path: Path) -> tuple[list[str], int]:
    if path.suffix == ".csv":
        head, *rows = csv.reader(path.read_text().splitlines())
        return head, len(rows)
    if "js" in path.suffix:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return list(lines[0]), len(lines)
    if path.suffix == ".parquet":
        from pyarrow import parquet

        table = parquet.read_table(path)
    else:
        opened = pa.ipc.open_stream if path.suffix == ".arrows" else pa.ipc.open_file
        table = opened(path.read_bytes()).read_all()
    assert table.schema.equals(FLOWS)
    return table.schema.names, table.num_rows


def test_problems_are_lines_and_exit_code_2(capture: Path, tmp_path: Path) -> None:
    """What was readable is written all the same."""
    cut, output = tmp_path / "cut.pcap", tmp_path / "flows.jsonl"
    cut.write_bytes(capture.read_bytes()[:-1])
    result = run(cut, "-o", output)
    assert (result.return_value, len(output.read_text().splitlines())) == (2, 1)
    assert result.stderr.splitlines()[1].startswith(f"loomidi: {cut}: cut off after packet 2")


def test_the_whole_command_ends_with_one_line(tmp_path: Path) -> None:
    """A process of its own: exit code 2, one line, no traceback, no output left behind."""
    done = subprocess.run(
        [sys.executable, "-m", "loomidi", "meter", tmp_path / "none.pcap", "-o", tmp_path / "out.csv"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n"), list(tmp_path.iterdir())) == (2, 1, [])


@pytest.mark.parametrize("output", ["flows.xyz", "flows", "missing/flows.csv"])
def test_an_output_that_cannot_be(capture: Path, tmp_path: Path, output: str) -> None:
    """Refused with what to use; nothing is left behind."""
    result = run(capture, "-o", tmp_path / output)
    assert isinstance(result.exception, (UsageError, InputError))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["capture.pcap"]


def test_the_capture_is_not_written_over(capture: Path) -> None:
    """However it is spelled."""
    renamed = capture.with_suffix(".csv")
    renamed.symlink_to(capture)
    before = capture.read_bytes()
    assert isinstance(run(capture, "-o", renamed).exception, UsageError)
    assert capture.read_bytes() == before


def test_an_old_output_stays_until_the_new_one_is_complete(capture: Path, tmp_path: Path) -> None:
    """A failure leaves the file of the last success."""
    output = tmp_path / "flows.csv"
    output.write_text("old")
    assert run(tmp_path / "none.pcap", "-o", output).exception
    assert output.read_text() == "old"


def test_help_states_the_defaults() -> None:
    """They are written out, so that asking for help loads no library; here they are compared."""
    page = CliRunner().invoke(command, ["--help"]).output
    defaults = MeterSettings()
    for value in (defaults.active_s, defaults.idle_s, defaults.max_flows):
        assert f"[{value:g}]" in page or f"[{value}]" in page


@pytest.mark.parametrize("option", ["--idle=0", "--active=-1", "--max-flows=3", "--duration=-1", "--idle=nan"])
def test_settings_that_make_no_sense(capture: Path, option: str) -> None:
    """One line that says what to use."""
    assert "use" in str(run(capture, option).exception)
