"""Columns are read from their buffers: exactly, and without loading pandas."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from loomidi.loom.capture import synthetic
from loomidi.loom.flows.columns import plain


@pytest.mark.parametrize("kind", [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.int64(), pa.float64()])
def test_values_keep_their_type_and_null_is_0(kind: pa.DataType) -> None:
    column = pa.array([1, None, 3, 250, None, 6], kind)
    for start in range(4):
        wanted = [value or 0 for value in column.to_pylist()[start:]]
        assert plain(column.slice(start)).tolist() == wanted
    assert plain(pa.array([7], kind)).dtype == np.dtype(str(kind))


def test_times_are_nanoseconds_and_the_largest_count_is_exact() -> None:
    assert plain(pa.array([2**62], pa.timestamp("ns", "UTC"))).tolist() == [2**62]
    assert plain(pa.array([2**64 - 1, None], pa.uint64())).tolist() == [2**64 - 1, 0]
    assert plain(pa.array([], pa.uint32())).tolist() == []


def test_analyze_does_not_load_pandas_where_it_is_installed(tmp_path: Path) -> None:
    capture = tmp_path / "flood.pcap"
    synthetic.write_capture(capture, synthetic.syn_flood().packets)
    (tmp_path / "pandas.py").write_text("raise SystemExit('pandas was loaded')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import loomidi; loomidi.analyze({str(capture)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
