"""`loomidi analyze` as people and programs call it: outputs, exit codes, one-line errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from loomidi.loom.capture import synthetic

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs" / "analyze.schema.json").read_text())


def run(*arguments: str | Path, stdin: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    outcome = subprocess.run(
        [sys.executable, "-m", "loomidi", "analyze", *map(str, arguments)],
        capture_output=True,
        input=stdin,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COLUMNS": "100", **environment},
        check=False,
    )
    return subprocess.CompletedProcess(
        outcome.args, outcome.returncode, outcome.stdout.decode(), outcome.stderr.decode()
    )


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan among benign traffic."""
    path = tmp_path_factory.mktemp("captures") / "scan.pcap"
    synthetic.write_capture(path, synthetic.mixed(synthetic.vertical_scan(), synthetic.benign_http()))
    return path


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Benign traffic only."""
    path = tmp_path_factory.mktemp("captures") / "quiet.pcap"
    synthetic.write_capture(path, synthetic.benign_http().packets)
    return path


def test_a_finding_gives_exit_1_and_a_readable_report(scan: Path) -> None:
    outcome = run(scan)
    assert outcome.returncode == 1
    assert outcome.stderr == ""
    assert "Port scan of a host" in outcome.stdout
    assert "adds up" in outcome.stdout
    assert "\x1b" not in outcome.stdout


def test_nothing_found_gives_exit_0(quiet: Path) -> None:
    outcome = run(quiet)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith("Nothing above info was found.")


def test_the_document_on_standard_output_fits_the_schema(scan: Path) -> None:
    outcome = run(scan, "--json")
    document = json.loads(outcome.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["summary"]["exit_code"] == outcome.returncode == 1
    assert document["findings"][0]["techniques"] == ["T1046"]
    assert document["techniques"] == {"T1046": "Network Service Discovery"}


def test_json_and_html_go_into_files_beside_the_text(scan: Path, tmp_path: Path) -> None:
    outcome = run(scan, "--json", tmp_path / "r.json", "--html", tmp_path / "r.html")
    assert "Port scan of a host" in outcome.stdout
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads((tmp_path / "r.json").read_text()))
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


def test_json_before_a_capture_does_not_overwrite_it(scan: Path) -> None:
    before = scan.read_bytes()
    outcome = run("--json", scan)
    assert json.loads(outcome.stdout)["findings"]
    assert scan.read_bytes() == before


def test_a_capture_may_come_on_standard_input(scan: Path) -> None:
    assert json.loads(run("-", "--json", stdin=scan.read_bytes()).stdout)["flows"]["count"] > 0


def test_the_meter_settings_reach_the_meter(scan: Path) -> None:
    usual, fine = (json.loads(run(scan, "--json", *more).stdout) for more in ((), ("--active", "0.01")))
    assert fine["flows"]["count"] > usual["flows"]["count"]
    assert fine["flows"]["packets"] == usual["flows"]["packets"]


def test_a_protected_host_turns_proposals_into_refusals(scan: Path) -> None:
    document = json.loads(run(scan, "--json", "--protect", synthetic.ATTACKER).stdout)
    assert document["folds"]
    assert not any(fold["allowed"] for fold in document["folds"])


def test_a_cut_capture_is_told_on_one_line_reported_and_exit_2(scan: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(scan.read_bytes()[:-9])
    outcome = run(cut)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(f"loomidi: {cut}: ")
    assert outcome.stderr.count("\n") == 1
    assert "Port scan of a host" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name at least one capture"),
        (("{none}",), "no such file"),
        (("{folder}",), "is a directory"),
        (("{scan}", "--html", "{none}/x.html"), "cannot be written"),
        (("{scan}", "--html", "{scan}"), "is one of the captures"),
        (("{scan}", "--json", "--html", "-"), "both --json and --html go to standard output"),
        (("{scan}", "--protect", "10.0.0.0/40"), "is no address or CIDR"),
        (("{scan}", "--active", "-1"), "active timeout"),
        (("{scan}", "--active", "soon"), "not a valid float"),
        (("{scan}", "--frobnicate"), "No such option"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(scan: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    names = {"scan": scan, "none": tmp_path / "none", "folder": tmp_path}
    outcome = run(*(argument.format(**names) for argument in arguments))
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert outcome.stdout == ""


def test_a_name_that_the_terminal_cannot_show_does_not_end_the_report(scan: Path, tmp_path: Path) -> None:
    odd = tmp_path / "caf\u00e9.pcap"
    odd.write_bytes(scan.read_bytes())
    outcome = run(odd, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert outcome.returncode == 1
    assert outcome.stdout.isascii()


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = "import sys; from loomidi.conductor.cli import guarded, loomidi; guarded(lambda: loomidi.main(['analyze', \
'--help'], standalone_mode=False)); print(sorted({'rich','pyarrow','yaml','numpy','regopy'} & set(sys.modules)))"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.splitlines()[-1] == "[]"


def test_json_output_does_not_import_the_library_that_draws(scan: Path) -> None:
    code = f"import sys; from loomidi.conductor.cli import guarded, loomidi; guarded(lambda: loomidi.main(['analyze', \
{str(scan)!r}, '--json'], standalone_mode=False)); print('rich' in sys.modules, file=sys.stderr)"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stderr == "False\n"
