"""Whatever a damaged or lying capture claims: a report that balances, fits its schema and can be drawn."""

import io
import json
import random
import struct
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

import loomidi
from loomidi.contracts.errors import InputError
from loomidi.insight.report import Report
from loomidi.insight.report.document import document
from loomidi.insight.report.page import page
from loomidi.insight.report.text import draw
from loomidi.loom.capture import synthetic

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "docs" / "analyze.schema.json").read_text())
CHECK = jsonschema.Draft202012Validator(SCHEMA)


def pcapng(path: Path, packets: list[tuple[int, bytes]]) -> Path:
    """A pcapng file with 64-bit times in ns, which may claim any time."""
    content = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    content += struct.pack("<IIHHIHHB3xII", 1, 32, 1, 0, 0, 9, 1, 9, 0, 32)
    for at, frame in packets:
        body = frame + bytes(-len(frame) % 4)
        size = 32 + len(body)
        content += struct.pack("<IIIIIII", 6, size, 0, at >> 32, at & 0xFFFFFFFF, len(frame), len(frame))
        content += body + struct.pack("<I", size)
    path.write_bytes(content)
    return path


def sound(report: Report) -> None:
    """Balances, fits, and every form of it can be made."""
    assert report.balance.adds_up
    assert list(CHECK.iter_errors(json.loads(json.dumps(document(report), allow_nan=False)))) == []
    draw(report, Console(file=io.StringIO(), width=50), manifests=True)
    assert page(report)


@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_capture_still_gives_a_sound_report(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = tmp_path / "a.pcap"
    synthetic.write_capture(path, synthetic.mixed(synthetic.vertical_scan(), synthetic.benign_http(connections=20)))
    whole = path.read_bytes()
    for hits in (1, 10, 100, 1000):
        damaged = bytearray(whole[: chance.randrange(24, len(whole))])
        for _ in range(hits):
            damaged[chance.randrange(24, len(damaged)) if len(damaged) > 24 else 0] = chance.randrange(256)
        path.write_bytes(damaged)
        sound(loomidi.analyze(path))


@pytest.mark.parametrize("times", [(0, 2**63 - 1), (2**63, 5), (2**64 - 1, 0), (2**62, 2**62 + 1)])
def test_a_capture_may_claim_any_time(tmp_path: Path, times: tuple[int, int]) -> None:
    frames = [frame for _, frame in synthetic.vertical_scan().packets]
    packets = [(times[at % 2], frame) for at, frame in enumerate(frames)]
    report = loomidi.analyze(pcapng(tmp_path / "mad.pcapng", packets))
    assert report.balance.received == len(packets)
    sound(report)


def test_what_is_no_capture_is_one_problem_and_an_empty_sound_report(tmp_path: Path) -> None:
    path = tmp_path / "noise.pcap"
    path.write_bytes(random.Random(1).randbytes(5000))
    report = loomidi.analyze(path)
    assert len(report.problems) == 1
    assert report.exit_code == 2
    sound(report)


def test_a_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        loomidi.analyze(tmp_path)
