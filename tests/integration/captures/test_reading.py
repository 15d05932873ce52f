"""Captures of every form and link type, good and bad: what is readable is reported, the rest is one line."""

import gzip
import os
import random
import struct
import threading
from pathlib import Path

import pytest

from loomidi.contracts.errors import InputError, UsageError
from loomidi.loom.flows import MeterSettings, Problem, meter
from tests.integration.captures import seeds
from tests.integration.captures.rewriting import block, enhanced, interface, pcap, section
from tests.unit.loom.flows import frames as f

COUNTS = ("packet_delta_count", "reverse_packet_delta_count")


def read(
    path: Path | str, settings: MeterSettings | None = None
) -> tuple[list[dict[str, object]], tuple[Problem, ...], int]:
    """Flows, problems, packets accounted."""
    with meter([path], settings) as stream:
        rows = [row for batch in stream for row in batch.select([*COUNTS, "source_ip_address"]).to_pylist()]
        accounted = stream.balance["accounted"][0]
        assert accounted == sum(row[name] for row in rows for name in COUNTS)
        return rows, stream.problems, accounted


def written(folder: Path, octets: bytes) -> Path:
    """The octets as a file."""
    path = folder / "capture"
    path.write_bytes(octets)
    return path


class TestForms:
    """Every form gives the same conversation."""

    @pytest.mark.parametrize("name", sorted(set(seeds.all_of_them()) - {"odd", "tunnels"}))
    def test_the_conversation_is_found(self, tmp_path: Path, name: str) -> None:
        """Four packets, one flow, the client as initiator, no problem."""
        rows, problems, accounted = read(written(tmp_path, seeds.all_of_them()[name]))
        assert (accounted, len(rows), problems) == (4, 1, ())
        assert rows[0] == {"packet_delta_count": 3, "reverse_packet_delta_count": 1, "source_ip_address": f.CLIENT}

    @pytest.mark.parametrize(
        ("name", "nanoseconds"), [("us", 0), ("ns", 0), ("big", 0), ("big-ns", 0), ("modified", 0), ("gz", 0)]
    )
    def test_the_clock_is_read_exactly(self, tmp_path: Path, name: str, nanoseconds: int) -> None:
        """First and last packet are 3 ms apart in each form."""
        with meter([written(tmp_path, seeds.all_of_them()[name])]) as stream:
            (batch,) = list(stream)
        assert batch["flow_start_nanoseconds"].cast("int64").to_pylist() == [seeds.START + nanoseconds]
        assert batch["flow_duration_nanoseconds"].to_pylist() == [3_000_000]

    @pytest.mark.parametrize(
        ("options", "ticks"),
        [
            ([], 1_700_000_000_000_001),
            ([(9, b"\x09")], 1_700_000_000_000_001_000),
            ([(9, b"\x03"), (14, struct.pack("<q", 1_700_000_000))], 0),
            ([(9, b"\x94"), (14, struct.pack("<q", 1_699_999_999))], 1 << 20),
            ([(9, b"\x80"), (14, struct.pack("<q", -5))], 1_700_000_005),
        ],
    )
    def test_clocks_of_pcapng_interfaces(self, tmp_path: Path, options: list[tuple[int, bytes]], ticks: int) -> None:
        """Decimal and binary resolutions, and offsets before and after."""
        octets = section() + interface(options=options) + enhanced(seeds.FRAMES[0], ticks)
        with meter([written(tmp_path, octets)]) as stream:
            (batch,) = list(stream)
        (start,) = batch["flow_start_nanoseconds"].cast("int64").to_pylist()
        assert start - seeds.START == (1000 if ticks > 10**12 else 0)

    def test_members_of_gzip_follow_each_other(self, tmp_path: Path) -> None:
        """As `cat a.gz b.gz` makes them."""
        octets = seeds.all_of_them()["us"]
        path = written(tmp_path, gzip.compress(octets[:60]) + gzip.compress(octets[60:]))
        assert read(path)[1:] == ((), 4)

    def test_frames_larger_than_the_buffer(self, tmp_path: Path) -> None:
        """A frame of 300,000 octets is stepped over; what follows is read."""
        big = f.ethernet(f.ip(f.CLIENT, f.SERVER, 17, f.udp(1, 2, b"x" * 1000)) + b"\0" * 300_000)
        packets = [(seeds.START, big), (seeds.START, f.segment(f.SYN)), (seeds.START, big)]
        for octets in (
            pcap(packets, snap=400_000),
            section() + interface() + b"".join(enhanced(p, 0) for _, p in packets),
        ):
            rows, problems, accounted = read(written(tmp_path, octets))
            assert (len(rows), problems, accounted) == (2, (), 3)

    def test_a_huge_snap_length_is_no_problem(self, tmp_path: Path) -> None:
        """Some programs write 2^32 - 1."""
        assert read(written(tmp_path, pcap(seeds.PACKETS, snap=0xFFFFFFFF)))[1:] == ((), 4)

    def test_no_packets_are_no_problem(self, tmp_path: Path) -> None:
        """A header alone is a complete capture."""
        assert read(written(tmp_path, pcap([]))) == ([], (), 0)

    def test_unknown_link_types_are_counted(self, tmp_path: Path) -> None:
        """Not fatal: other interfaces of the same file may be known."""
        octets = section() + interface(195) + interface(1) + enhanced(b"x" * 20, 0) + enhanced(seeds.FRAMES[0], 1, 1)
        with meter([written(tmp_path, octets)]) as stream:
            assert sum(batch.num_rows for batch in stream) == 1
            assert (stream.balance["unparsed_link"], stream.problems) == ((1, 20), ())


class TestBadInput:
    """One line that says what to do, and what was readable before it."""

    @pytest.mark.parametrize("form", ["us", "ns", "big", "modified", "ng", "ng-big", "gz", "gz-ng"])
    def test_cut_anywhere(self, tmp_path: Path, form: str) -> None:
        """Never a crash, never a packet too many; a problem unless the cut is between two records."""
        octets = seeds.all_of_them()[form]
        for end in range(len(octets)):
            _, problems, accounted = read(written(tmp_path, octets[:end]))
            assert accounted <= 4
            assert len(problems) <= 1
            assert accounted == 4 or problems or _between_records(octets[:end], form)

    def test_cut_in_a_packet(self, tmp_path: Path) -> None:
        """Says after which packet and what to do; packets before it are reported."""
        _, (problem,), accounted = read(written(tmp_path, pcap(seeds.PACKETS)[:-3]))
        assert accounted == 3
        assert problem.message.startswith("cut off after packet 3, at octet ")
        assert "copy or capture it again" in problem.message

    def test_a_damaged_length(self, tmp_path: Path) -> None:
        """A length that cannot be ends reading; it is not believed."""
        octets = bytearray(pcap(seeds.PACKETS))
        octets[24 + 16 + 54 + 8 : 24 + 16 + 54 + 12] = b"\xff\xff\xff\x7f"
        _, (problem,), accounted = read(written(tmp_path, bytes(octets)))
        assert accounted == 1
        assert problem.message.startswith("damaged after packet 1")

    def test_a_packet_of_an_interface_that_is_not_there(self, tmp_path: Path) -> None:
        """pcapng that refers to interface 7 of 1."""
        octets = section() + interface() + enhanced(seeds.FRAMES[0], 0) + enhanced(seeds.FRAMES[1], 0, on=7)
        _, (problem,), accounted = read(written(tmp_path, octets))
        assert (accounted, "interface" in problem.message) == (1, True)

    @pytest.mark.parametrize("total", [0, 8, 13, 0xFFFFFFFC])
    def test_a_block_that_cannot_be(self, tmp_path: Path, total: int) -> None:
        """Too short, odd, or larger than anything."""
        octets = section() + interface() + struct.pack("<II", 6, total) + b"\0" * 100
        _, (problem,), _ = read(written(tmp_path, octets))
        assert "damaged" in problem.message

    @pytest.mark.parametrize(
        ("octets", "advice"),
        [
            (b"", "empty"),
            (b"\0", "not a capture"),
            (b"hello, world\n" * 9, "not a capture"),
            (b"\x28\xb5\x2f\xfd" + b"\0" * 50, "unzstd"),
            (b"\xfd7zXZ\0" + b"\0" * 50, "unxz"),
            (b"PK\x03\x04" + b"\0" * 50, "unzip"),
            (b"\x1f\x8b\x08\0" + b"\0" * 50, ""),
            (b"\x1f\x8b", ""),
            (gzip.compress(b"", mtime=0), "not a capture"),
            (gzip.compress(b"hello, world", mtime=0), "not a capture"),
            (pcap(seeds.PACKETS)[:20], "cut off"),
            (section()[:11], "cut off"),
            (b"\n\r\r\n\x1c\0\0\0abcd" + b"\0" * 20, "damaged"),
        ],
    )
    def test_what_is_no_capture(self, tmp_path: Path, octets: bytes, advice: str) -> None:
        """Named for what it is, with what to do."""
        rows, (problem,), _ = read(written(tmp_path, octets))
        assert not rows
        assert advice in problem.message
        assert "\n" not in problem.message

    def test_ten_thousand_random_byte_strings(self, tmp_path: Path) -> None:
        """Half of them behind a valid start, so that they get further than the first test."""
        chance = random.Random(3)
        starts = [b"", pcap([]), section() + interface(), pcap(seeds.PACKETS[:1]), b"\x1f\x8b\x08\0\0\0\0\0\0\3"]
        paths = []
        for number in range(10_000):
            paths.append(tmp_path / str(number))
            paths[-1].write_bytes(starts[number % 2 and 1 + number // 2 % 4] + chance.randbytes(chance.randrange(200)))
        with meter(paths) as stream:
            rows = sum(batch.num_rows for batch in stream)
            assert rows <= stream.balance["accounted"][0]
            assert len(stream.problems) > 9_000
            assert not any("\n" in problem.message for problem in stream.problems)

    def test_a_good_capture_after_a_bad_one(self, tmp_path: Path) -> None:
        """One bad file of many does not hide the others."""
        bad, good = tmp_path / "bad", tmp_path / "good"
        bad.write_bytes(b"nothing")
        good.write_bytes(pcap(seeds.PACKETS))
        with meter([bad, good]) as stream:
            assert sum(batch.num_rows for batch in stream) == 1
            assert [problem.source for problem in stream.problems] == [str(bad)]


class TestPlaces:
    """What is named may be no file at all."""

    def test_nothing(self) -> None:
        """No source is a mistake of use."""
        with pytest.raises(UsageError, match="name at least one"):
            meter([])

    @pytest.mark.parametrize("name", ["absent.pcap", "", "nul\0", "a/" * 3000])
    def test_what_is_not_there(self, tmp_path: Path, name: str) -> None:
        """Refused before anything is read."""
        with pytest.raises(InputError, match=r"name|capture"):
            meter([f"{tmp_path}/{name}" if name else name])

    def test_a_directory(self, tmp_path: Path) -> None:
        """Says to name the captures in it."""
        with pytest.raises(InputError, match=r"is a directory; name the captures in it, such as .*\*\.pcap"):
            meter([tmp_path])

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_no_right_to_read(self, tmp_path: Path) -> None:
        """Says how to get it."""
        path = written(tmp_path, b"x")
        path.chmod(0)
        with pytest.raises(InputError, match="chmod"):
            meter([path])

    def test_a_pipe(self, tmp_path: Path) -> None:
        """A FIFO is read like a file, whatever the size of what arrives at once."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        octets = seeds.all_of_them()["gz-ng"]

        def feed() -> None:
            with pipe.open("wb", buffering=0) as out:
                for at in range(0, len(octets), 3):
                    out.write(octets[at : at + 3])

        feeding = threading.Thread(target=feed)
        feeding.start()
        assert read(pipe)[1:] == ((), 4)
        feeding.join()


class TestStream:
    """Batches come as they are asked for."""

    def test_batches_have_the_rows_asked_for(self, tmp_path: Path) -> None:
        """All but the last are full."""
        packets = [(seeds.START, f.datagram(ports=(number + 1, 53))) for number in range(250)]
        with meter([written(tmp_path, pcap(packets))], MeterSettings(batch_rows=100)) as stream:
            assert [batch.num_rows for batch in stream] == [100, 100, 50]
            assert (stream.flows, stream.bytes_read) == (250, stream.bytes_total)

    def test_batches_outlive_the_stream(self, tmp_path: Path) -> None:
        """The buffers belong to Arrow once a batch was handed out."""
        with meter([written(tmp_path, pcap(seeds.PACKETS))]) as stream:
            (batch,) = list(stream)
        assert batch["source_ip_address"].to_pylist() == [f.CLIENT]
        batch.validate(full=True)

    def test_a_stream_can_be_left_in_the_middle(self, tmp_path: Path) -> None:
        """Nothing further is read, nothing leaks, the balance stays readable."""
        packets = [(seeds.START, f.datagram(ports=(number + 1, 53))) for number in range(100)]
        with meter([written(tmp_path, pcap(packets))], MeterSettings(batch_rows=10, max_flows=16)) as stream:
            next(stream)
        assert 0 < stream.balance["accounted"][0] < 100

    def test_stopping_gives_what_is_in_the_table(self, tmp_path: Path) -> None:
        """As Ctrl-C on an interface does."""
        packets = [(seeds.START, f.datagram(ports=(number + 1, 53))) for number in range(100)]
        with meter([written(tmp_path, pcap(packets))], MeterSettings(batch_rows=10, max_flows=16)) as stream:
            first = next(stream).num_rows
            stream.stop()
            rest = sum(batch.num_rows for batch in stream)
            assert first + rest == stream.balance["accounted"][0]

    def test_the_reader_has_the_same_batches(self, tmp_path: Path) -> None:
        """`loomidi.meter` gives it to whoever knows Arrow."""
        table = meter([written(tmp_path, pcap(seeds.PACKETS))]).reader().read_all()
        assert (table.num_rows, table["packet_delta_count"].to_pylist()) == (1, [3])

    def test_two_captures_go_on_from_one_another(self, tmp_path: Path) -> None:
        """A conversation that a rotation cut in two is one flow."""
        one, other = tmp_path / "1.pcap", tmp_path / "2.pcap"
        one.write_bytes(pcap(seeds.PACKETS[:2]))
        other.write_bytes(pcap(seeds.PACKETS[2:]))
        with meter([one, other]) as stream:
            assert [row["packet_delta_count"] for batch in stream for row in batch.to_pylist()] == [3]


def _between_records(cut: bytes, form: str) -> bool:
    """Whether a cut falls where a capture may end."""
    if form.startswith("gz"):
        return False
    if form.startswith("ng"):
        order, at = (">", 0) if form.endswith("big") else ("<", 0)
        while at + 12 <= len(cut):
            at += struct.unpack_from(order + "I", cut, at + 4)[0]
        return at == len(cut)
    order, head, at = (">" if form == "big" else "<"), (24 if form == "modified" else 16), 24
    while at + head <= len(cut):
        at += head + struct.unpack_from(order + "I", cut, at + 8)[0]
    return at == len(cut)


def test_blocks_of_no_known_kind_are_stepped_over(tmp_path: Path) -> None:
    """Name resolution, decryption secrets, custom blocks; also large ones."""
    octets = section() + interface() + block(0x0BAD, b"x" * 600_000) + enhanced(seeds.FRAMES[0], 0)
    assert read(written(tmp_path, octets))[1:] == ((), 1)
