"""DARPA-98 as a stream of edges, and the protocol by which detectors are measured on it.

Called by the benches of detectors. In: `darpa98-edges.tar` of the folder that LOOMIDI_DATA names. Out: `Stream`, in
order of minutes: the first 15 % of them to train on, 5 % to calibrate on, the rest is the test. Labels are looked at by
`recall` alone. An attack instance is edges with the same label that are at most 30 minutes apart; it is found when one
of its edges scores above the threshold, which so many of the benign edges of the test do.
"""

import dataclasses
import functools
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from loomidi.origami.features import CAUSAL, EdgeFeatures, FeatureSettings, hashes

ROOT = Path(__file__).resolve().parent.parent
ARCHIVE = "darpa98-edges.tar"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "loomidi" / "darpa98"
TRAIN, CALIBRATE = 0.15, 0.05  # of the minutes
GAP_MINUTES = 30
FLOODS = ("neptune", "smurf")
MINUTE_NS = 60 * 10**9
F32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class DataMissing(Exception):
    """The archive is not there; the message says which."""


@dataclasses.dataclass(frozen=True)
class Stream:
    """Edges in order of time; all columns are of the same length."""

    minute: npt.NDArray[np.int64]  # since the epoch
    source: npt.NDArray[np.uint64]  # seeded hashes of names
    destination: npt.NDArray[np.uint64]
    label: npt.NDArray[np.int32]  # index of `labels`
    labels: tuple[str, ...]
    train: int  # the first edge that is not for training
    calibrate: int  # the first edge of the test

    @functools.cached_property
    def benign(self) -> Mask:
        """Which edges are of no attack."""
        return self.label == self.labels.index("-")

    @functools.cached_property
    def ticks(self) -> npt.NDArray[np.uint32]:
        """Minutes from 1."""
        return (self.minute - self.minute[0] + 1).astype(np.uint32)

    @functools.cached_property
    def instances(self) -> npt.NDArray[np.int64]:
        """For each edge of the test the number of its attack instance, -1 where it is benign."""
        minute, label = self.minute[self.calibrate :], self.label[self.calibrate :]
        order = np.lexsort((minute, label))
        fresh = (np.diff(label[order], prepend=-1) != 0) | (np.diff(minute[order], prepend=0) > GAP_MINUTES)
        number = np.empty(len(order), np.int64)
        number[order] = np.cumsum(fresh) - 1
        number[self.benign[self.calibrate :]] = -1
        return np.unique(number, return_inverse=True)[1] - 1


def load(seed: int = 0) -> Stream:
    """Unpacked once into a cache outside of the project. Raises DataMissing."""
    table = _table()
    minute = table["minute"].to_numpy()
    names = {end: table[end].combine_chunks() for end in ("source", "destination")}
    label = table["label"].combine_chunks()
    _, starts = np.unique(minute, return_index=True)
    first, second = (int(starts[int(len(starts) * share)]) for share in (TRAIN, TRAIN + CALIBRATE))
    return Stream(
        minute=minute,
        source=hashes(names["source"], seed),
        destination=hashes(names["destination"], seed),
        label=label.indices.to_numpy(),
        labels=tuple(label.dictionary.to_pylist()),
        train=first,
        calibrate=second,
    )


def causal(stream: Stream, settings: FeatureSettings | None = None) -> F32:
    """The causal features of all edges, log1p, one row an edge."""
    features = EdgeFeatures(settings)
    times = stream.minute * MINUTE_NS
    out = np.empty((len(times), len(CAUSAL)), np.float32)
    for at in range(0, len(times), 1 << 16):
        part = slice(at, at + (1 << 16))
        ones = np.ones(len(times[part]), np.uint32)
        np.log1p(features.columns(times[part], stream.source[part], stream.destination[part], ones).T, out=out[part])
    return out


def thresholds(scores: F32, benign: Mask, rates: tuple[float, ...]) -> list[float]:
    """Of the scores of a test: at most this share of its benign edges scores above. Ties count against the detector."""
    sorted_scores = np.sort(scores[benign])
    return [float(sorted_scores[len(sorted_scores) - 1 - int(rate * len(sorted_scores))]) for rate in rates]


def recall(stream: Stream, scores: F32, rates: tuple[float, ...], without: tuple[str, ...] = ()) -> list[float]:
    """Share of the attack instances of the test that are found at each false-positive rate. Scores are of the test."""
    number, benign = stream.instances, stream.benign[stream.calibrate :]
    counted = ~benign
    for name in without:
        counted &= stream.label[stream.calibrate :] != stream.labels.index(name)
    highest = np.full(int(number.max()) + 1, -np.inf, np.float32)
    np.maximum.at(highest, number[counted], scores[counted])
    highest = highest[np.unique(number[counted])]
    return [float(np.mean(highest > limit)) for limit in thresholds(scores, benign, rates)]


def auc(stream: Stream, scores: F32) -> float:
    """Area under the curve over edges: for information, it hides failure."""
    benign = stream.benign[stream.calibrate :]
    values, at = np.unique(scores, return_inverse=True)
    good = np.bincount(at[benign], minlength=len(values)).astype(float)
    bad = np.bincount(at[~benign], minlength=len(values)).astype(float)
    below = np.cumsum(good) - good
    return float(np.sum(bad * (below + good / 2)) / (good.sum() * bad.sum()))


def _table() -> pa.Table:
    kept = CACHE / "edges.arrow"
    if not kept.is_file():
        archive = Path(os.environ.get("LOOMIDI_DATA", ROOT.parent / "shared" / "data")) / ARCHIVE
        if not archive.is_file():
            raise DataMissing(f"{ARCHIVE} is missing in the folder that LOOMIDI_DATA names")
        CACHE.mkdir(parents=True, exist_ok=True)
        table = _read(archive)
        with pa.OSFile(str(kept.with_suffix(".part")), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table.unify_dictionaries())
        kept.with_suffix(".part").rename(kept)
    with pa.memory_map(str(kept)) as source:
        return pa.ipc.open_file(source).read_all()


def _read(archive: Path) -> pa.Table:
    """The lines `source,destination,MM/DD/1998-hh:mm,label`; one date is 07/32, which is the first of August."""
    read = pa.csv.ReadOptions(column_names=["source", "destination", "when", "label"])
    kinds = dict.fromkeys(read.column_names, pa.dictionary(pa.int32(), pa.utf8()))
    with (
        tarfile.open(archive) as tar,
        zipfile.ZipFile(tar.extractfile("darpa98-edges/darpa_original.zip")) as packed,
        packed.open(packed.namelist()[0]) as lines,
    ):
        table = pa.csv.read_csv(lines, read, convert_options=pa.csv.ConvertOptions(column_types=kinds))
    table = table.unify_dictionaries()
    when = table["when"].combine_chunks()
    minutes = np.array([_minute(text) for text in when.dictionary.to_pylist()])[when.indices.to_numpy()]
    table = table.drop_columns(["when"]).append_column("minute", pa.array(minutes)).combine_chunks()
    return table.take(pa.array(np.argsort(minutes, kind="stable")))


def _minute(text: str) -> int:
    date, _, clock = text.partition("-")
    month, day, year = (int(part) for part in date.split("/"))
    hour, minute = (int(part) for part in clock.split(":"))
    days = int(np.datetime64(f"{year:04}-{month:02}-01", "D").astype(int)) + day - 1
    return (days * 24 + hour) * 60 + minute
