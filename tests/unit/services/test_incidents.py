"""Incidents as tests: headers only, replayed with and without their thresholds, and a look-alike that stays silent."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from loomidi.conductor.verbs import analyze, replay
from loomidi.contracts import InputError
from loomidi.loom.capture.synthetic import SCENARIOS, tcp, udp, write_capture
from loomidi.loom.capture.twin import frames
from loomidi.services.analyzing import analyze as analyze_captures
from loomidi.services.incidents import excerpts, recording, replays
from tests.unit.services import tunable_traffic as traffic

SECRET = b"password=hunter2"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `loomidi analyze --incidents` leaves of a slow flood at a quiet service."""
    folder = tmp_path_factory.mktemp("incidents")
    packets = traffic.together(traffic.quiet_web(40), traffic.slow_flood(after_s=41))
    write_capture(folder / "day.pcap", packets)
    done = CliRunner().invoke(analyze.command, [str(folder / "day.pcap"), "--incidents", str(folder / "kept")])
    assert (done.exit_code, done.exception) in ((0, None), (1, done.exception))
    assert "learned from the look-alike" in done.output
    return folder / "kept"


def test_an_incident_holds_its_packets_its_finding_its_parameters_and_its_story(kept: Path) -> None:
    (incident,) = kept.iterdir()
    assert {path.name for path in incident.iterdir()} == {
        *(replays.EXCERPT, replays.BENIGN, replays.EXPECTED, replays.PARAMETERS, replays.STORY)
    }
    expected = yaml.safe_load((incident / replays.EXPECTED).read_text())
    assert (expected["pattern"], expected["entities"]) == ("syn_flood", [f"host/{traffic.ATTACKER}", traffic.WEB])
    assert yaml.safe_load((incident / replays.PARAMETERS).read_text())["thresholds"]["syns"] == 20


def test_the_next_occurrence_is_caught_earlier_and_the_look_alike_stays_silent(kept: Path) -> None:
    (done,) = replays.replay_all(kept)
    assert (done.problem, done.faster, done.alarms) == ("", True, ())
    assert (done.before.lane, done.after.lane, done.after.packets) == ("flows", "fast", 20)
    assert done.after.ms < done.before.ms
    assert done.benign_packets > 1000


def test_the_command_tells_before_and_after_and_fails_when_a_look_alike_alarms(kept: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(replay.command, ["--incidents", str(kept)], standalone_mode=False)
    assert told.return_value == 0
    assert "-> 20" in told.output
    assert "faster" in told.output
    (incident,) = kept.iterdir()
    worse = tmp_path / "all" / incident.name
    worse.mkdir(parents=True)
    for path in incident.iterdir():
        (worse / path.name).write_bytes(path.read_bytes())
    (worse / replays.BENIGN).write_bytes((incident / replays.EXCERPT).read_bytes())
    told = CliRunner().invoke(replay.command, ["--incidents", str(tmp_path / "all")], standalone_mode=False)
    assert told.return_value == 1
    assert "the look-alike alarms: syn_flood" in told.output


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"syns": 100_000, "packets": 100_000}, ""), ({"syns": 20}, "")],
)
def test_thresholds_that_come_too_late_are_no_worse_than_the_flow_detectors(
    kept: Path, changes: dict[str, int], problem: str
) -> None:
    (incident,) = kept.iterdir()
    expected = replays.read_expected(incident)
    after = replays.caught(incident / replays.EXCERPT, expected, replays.Parameters(traffic.WEB, changes))
    before = replays.caught(incident / replays.EXCERPT, expected)
    made = replays.Replayed("x", expected.pattern, before, after, (), 0)
    assert made.problem == problem


def test_an_incident_that_is_caught_later_or_no_longer_fails() -> None:
    soon, late = replays.Caught(20, 5.0, "fast"), replays.Caught(90, 50.0, "fast")
    assert replays.Replayed("x", "syn_flood", soon, late, (), 0).problem == "caught later than without its parameters"
    assert replays.Replayed("x", "syn_flood", soon, None, (), 0).problem == "no longer caught"
    assert replays.Replayed("x", "syn_flood", None, late, (), 0).problem == ""


@pytest.mark.parametrize(
    "frame",
    [
        tcp("10.0.0.1", 4000, "10.0.0.2", 80, 24, payload=SECRET),
        udp("10.0.0.1", 4000, "10.0.0.2", 53, SECRET),
        udp("2001:db8::1", 4000, "2001:db8::2", 53, SECRET),
    ],
)
def test_nothing_that_was_said_is_kept(frame: bytes, tmp_path: Path) -> None:
    cut = excerpts.headers_of(frame)
    assert SECRET not in cut
    assert frame.startswith(cut)
    assert excerpts.addresses_of(cut) == excerpts.addresses_of(frame)
    tagged = frame[:12] + b"\x81\x00\x00\x07" + frame[12:]
    assert excerpts.headers_of(tagged) == tagged[: len(cut) + 4]


def test_an_excerpt_is_read_back_with_its_times_and_its_lengths_on_the_wire(tmp_path: Path) -> None:
    write_capture(
        tmp_path / "a.pcap", [(1_700_000_000_123_456_789, tcp("10.0.0.1", 1, "10.0.0.2", 2, 2, payload=SECRET))]
    )
    (frame,) = frames(tmp_path / "a.pcap")
    excerpt = excerpts.Excerpt({excerpts.packed("10.0.0.2")}, (), 0, 2**63)
    assert excerpts.cut([str(tmp_path / "a.pcap")], [excerpt], excerpts.ExcerptSettings()) == 0
    excerpts.write_pcapng(tmp_path / "b.pcapng", excerpt.kept, 128)
    (again,) = frames(tmp_path / "b.pcapng")
    assert (again.at_ns, again.wire_octets) == (frame.at_ns, frame.wire_octets)
    assert len(again.octets) == 54


def test_an_excerpt_is_bounded_and_says_what_it_left_out(tmp_path: Path) -> None:
    write_capture(tmp_path / "a.pcap", SCENARIOS["syn_flood"](packets=50).packets)
    excerpt = excerpts.Excerpt({excerpts.packed("10.0.0.80")}, (), 0, 2**63)
    excerpts.cut([str(tmp_path / "a.pcap")], [excerpt], excerpts.ExcerptSettings(most_packets=10))
    assert len(excerpt.kept) == 10
    assert excerpt.left_out >= 40


def test_a_folder_without_incidents_or_with_a_broken_one_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--incidents"):
        replays.replay_all(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / replays.EXPECTED).write_text("pattern: syn_flood\n")
    with pytest.raises(InputError, match="entities"):
        list(replays.replay_all(tmp_path))


def test_of_two_links_that_saw_an_attack_the_packets_of_one_are_put_aside_and_kept_at_the_end(tmp_path: Path) -> None:
    write_capture(tmp_path / "a.pcap", traffic.together(traffic.quiet_web(15), traffic.slow_flood(after_s=16)))
    seen = list(frames(tmp_path / "a.pcap"))
    report = analyze_captures([str(tmp_path / "a.pcap")])
    with recording.Recorder(tmp_path / "kept", lambda: {"veth1": seen, "veth2": seen[::2]}) as recorder:
        recorder.found(report.findings[0])
        (one,) = recorder.finish()
    assert one.replayed is not None
    assert (one.replayed.problem, one.replayed.after.packets) == ("", 20)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [one.name]
