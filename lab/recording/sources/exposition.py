"""Prometheus text to samples, fast: a series is parsed by the library once, then only its value.

Called by `scraping` for thousands of lines every few seconds. In: a text. Out: (name, kind, labels as JSON, value). The
library's own parser decides what a series is; `plain` uses nothing else and a test says that both agree.
"""

import json
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

Sample = tuple[str, str, str, float]
SERIES_MOST = 200_000  # remembered; then everything is parsed anew


class Exposition:
    """Remembers series between scrapes."""

    def __init__(self) -> None:
        self._series: dict[str, tuple[str, str]] = {}
        self.bad_lines = 0

    def samples(self, text: str) -> Iterator[Sample]:
        """All samples; lines that cannot be read are counted in `bad_lines`."""
        kinds: dict[str, str] = {}
        for line in text.splitlines():
            if line.startswith("#"):
                words = line.split(None, 3)
                if len(words) == 4 and words[1] == "TYPE":
                    kinds[words[2]] = words[3].strip()
            elif line.strip():
                yield from self._sample(line, kinds)

    def _sample(self, line: str, kinds: dict[str, str]) -> Iterator[Sample]:
        series, value = _halves(line)
        try:
            if series not in self._series:
                self._learn(series)
            name, labels = self._series[series]
            yield name, _kind(name, kinds), labels, float(value)
        except (ValueError, KeyError, IndexError):
            self.bad_lines += 1

    def _learn(self, series: str) -> None:
        if len(self._series) >= SERIES_MOST:
            self._series.clear()
        for family in text_string_to_metric_families(f"{series} 0\n"):
            for sample in family.samples:
                self._series[series] = (sample.name, _labels(sample.labels))


def plain(text: str) -> Iterator[Sample]:
    """The same by the library alone."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, family.type, _labels(sample.labels), sample.value


def _halves(line: str) -> tuple[str, str]:
    """The series and its value; a time behind the value is left out, as the recorder stamps scrapes itself."""
    brace = line.rfind("}")
    at = brace + 1 if brace >= 0 else len(line.split(None, 1)[0])
    values = line[at:].split()
    return line[:at].strip(), values[0] if values else ""


def _kind(name: str, kinds: dict[str, str]) -> str:
    """The family's kind: a histogram's `_bucket` belongs to what stands in its TYPE line."""
    if name in kinds:
        return kinds[name]
    for suffix in ("_total", "_bucket", "_count", "_sum", "_created"):
        if name.endswith(suffix) and name.removesuffix(suffix) in kinds:
            return kinds[name.removesuffix(suffix)]
    return "unknown"


def _labels(labels: dict[str, str]) -> str:
    return json.dumps(labels, separators=(",", ":"), sort_keys=True)
