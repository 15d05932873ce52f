"""What a model can and cannot do, as one HTML page that needs nothing else: no network, no other file.

Called by `loomidi model report`. In: the document of a run (docs/model-report.schema.json). Out: the page's text. What
was not measured says so in its place. All that came from data is escaped; the content policy lets run only the style
and the script of this package, by their hash.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import InputError
from loomidi.insight import wording
from loomidi.insight.report.charts import Axis, Bar, Chart, bars
from loomidi.insight.report.marking import Cell, content_hash, table, text

FORMAT = 1
_HERE = Path(__file__).parent
_FOOT = (
    "Thresholds are the model's own, from the past, but where it is said that one was taken from the test. "
    "docs/models.md says when not to trust it."
)
_MOST = 40  # rows of a table or bars
_NEEDED = ("model", "data", "alarms", "calibration", "latency", "promises")

Document = Mapping[str, Any]


def model_page(document: Document) -> str:
    """The whole page. Raises InputError for a document that is none of a run."""
    lacking = [name for name in _NEEDED if not document.get(name)]
    if document.get("format") != FORMAT or lacking:
        raise InputError(f"no document of a run (it lacks {', '.join(lacking) or 'a known format'}); evaluate a model")
    style = "".join((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "model.css"))
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src '{content_hash(style)}'; script-src '{content_hash(script)}'; img-src data:"
    )
    sections: tuple[tuple[str, Callable[[Document], str]], ...] = (
        ("Whether it may be champion", _gate),
        ("Found and missed", _recall),
        ("By family", _families),
        ("Alarms and calibration", _alarms),
        ("How long it takes", _delay),
        ("Seeds", _seeds),
        ("What carries it", _ablations),
        ("Drift", _drift),
        ("What it missed", _misses),
        ("Its false alarms", _false_alarms),
    )
    try:
        body = "".join(f"<section><h2>{title}</h2>{draw(document)}</section>" for title, draw in sections)
        head = _head(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"a damaged document of a run ({type(error).__name__}: {error}); evaluate the model anew"
        ) from error
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{policy}"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Loomidi model: {text(str(document['model']['name']))}</title><style>{style}</style></head><body>"
        f"{head}<main>{body}</main><footer>{_FOOT}</footer><script>{script}</script></body></html>\n"
    )


def _head(document: Document) -> str:
    model, data, alarms = document["model"], document["data"], document["alarms"]
    title = f"{model['name']} {model.get('version') or ''} {model['kind']}"
    latency = document["latency"].get("p99_ms")
    tiles = (
        ("edges in the test", wording.count(data["test"]), f"of {wording.count(data['edges'])}"),
        ("known incidents", wording.count(data["incidents"]) if data["labelled"] else "nobody looked", ""),
        (
            "base rate of attack edges",
            f"{data['base_rate']:.3g}" if data["labelled"] else "not known",
            "in this stream",
        ),
        ("false alarms a day", wording.count(alarms["per_day"]), f"{alarms['times_nominal']:.2f} times nominal"),
        ("p99 of a tick", f"{latency:.2f} ms" if latency is not None else "not measured", ""),
    )
    drawn = "".join(
        f'<div class="tile"><b>{text(value)}</b><span>{text(name)}</span><small>{text(more)}</small></div>'
        for name, value, more in tiles
    )
    source = f"{data.get('source', '')}, snapshot {data.get('snapshot', '')}; {_period(data)}"
    broken = {name: count for name, count in document["promises"].items() if count}
    problem = "".join(
        f'<p class="problem">Broken promise: {text(name)}, {count} times</p>' for name, count in broken.items()
    )
    return (
        f'<header><p class="brand">loomidi model report<button id="theme" type="button">dark / light</button></p>'
        f"<h1>{text(title)}</h1><p>{text(source)}</p>{problem}"
        f'<p class="dim">schema {text(str(model["schema_hash"])[:16])}, seed {model["seed"]}, run '
        f'{text(str(model.get("run") or "none"))}</p><div class="tiles">{drawn}</div></header>'
    )


def _period(data: Mapping[str, Any]) -> str:
    return wording.period(int(data["from_ns"]), int(data["to_ns"]))


def _absent(what: str, how: str) -> str:
    return f'<p class="absent">Not measured: {text(what)}. {text(how)}</p>'


def _gate(document: Document) -> str:
    gate = document.get("gate")
    if not gate:
        return _absent("nobody compared it with a champion", "`loomidi model compare` does.")
    answer = '<span class="badge ok">may</span>' if gate["open"] else '<span class="badge high">may not</span>'
    rows: list[list[Cell]] = [
        [
            (text(one["name"]), one["name"]),
            ({True: "met", False: "not met", None: "not defined, which refuses"}[one["met"]], str(one["met"])),
            (text(one["figure"]), one["figure"]),
            (text(one["limit"]), one["limit"]),
            (text(one["how"]), one["how"]),
        ]
        for one in gate["criteria"]
    ]
    return f"<p>{answer} {text(gate['because'])}</p>" + table(
        ("criterion", "", "figure", "asked for", "how"), rows, set()
    )


def _recall(document: Document) -> str:
    curve = document.get("precision_recall")
    if not curve:
        return _absent("no incident is known in this stream", "Give it edges with a label, or a recording of the lab.")
    base = max(float(document["data"]["base_rate"]), 1e-6)
    precise = Chart("Precision by recall", Axis(0, 1, "recall"), Axis(0, 1, "precision of edges at the real base rate"))
    precise.line([(row["recall"], row["precision"]) for row in curve], "found", "by incidents found")
    precise.line([(row["edge_recall"], row["precision"]) for row in curve], "edges", "by edges found")
    precise.line([(0, base), (1, base)], "even", f"chance: {base:.3g}")
    lowest = min([1e-4, *(row["fpr"] for row in curve if row["fpr"] > 0)])
    by_rate = Chart(
        "Recall by false-positive rate", Axis(lowest, 1, "rate of false alarms", True), Axis(0, 1, "recall")
    )
    by_rate.line([(max(row["fpr"], lowest), row["recall"]) for row in curve], "found")
    at = document.get("at", [])
    by_rate.whiskers([(row["fpr"], row["low"], row["high"]) for row in at])
    by_rate.dots([(row["fpr"], row["recall"], f"{row['recall']:.3f} at {row['fpr']:g}") for row in at], "seen")
    legend = (
        '<p class="legend"><span class="key found">incidents</span><span class="key edges">edges</span>'
        '<span class="key even">chance</span><span class="dim">thresholds taken from the test: for comparing models; '
        "whiskers: 95 % (Wilson)</span></p>"
    )
    return f'{legend}<div class="pair">{precise.svg()}{by_rate.svg()}</div>'


def _families(document: Document) -> str:
    families = document.get("families")
    if not families:
        return _absent("no incident is known in this stream", "")
    rows = [
        Bar(
            one["family"],
            one["recall"],
            f"{one['found']} of {one['incidents']}, {one['low']:.2f} to {one['high']:.2f}",
            one["low"],
            one["high"],
        )
        for one in sorted(families, key=lambda one: (one["recall"], one["family"]))[:_MOST]
    ]
    told = f"Share of incidents found by its own threshold (p <= {document['nominal']:g}); whiskers: 95 % (Wilson)."
    return f'<p class="dim">{told}</p>' + bars("Recall by family", rows, 1.0) + _unlisted(len(families))


def _alarms(document: Document) -> str:
    rows, nominal = document["calibration"], float(document["nominal"])
    low = min(row["nominal"] for row in rows) / 3
    kept = Chart("Calibration", Axis(low, 1, "p-value", True), Axis(low, 1, "share of usual edges below it", True))
    kept.line([(low, low), (1, 1)], "even", "as it should be")
    kept.whiskers([(row["nominal"], max(row["low"], low), max(row["high"], low)) for row in rows])
    kept.dots(
        [(row["nominal"], row["realised"], f"{row['realised']:.2g} at {row['nominal']:g}") for row in rows], "seen"
    )
    blocks = [block for block in document["alarms"]["blocks"] if block["usual"]]
    rates = [block["told"] / block["usual"] for block in blocks]
    most = max([*rates, 2 * nominal])
    over = Chart(
        "Alarms over time", Axis(0, max(len(blocks), 1), "stretch of the test"), Axis(0, most, "rate of alarms")
    )
    hints = [f"{block['told']} of {block['usual']} from {wording.moment(block['from_ns'])}" for block in blocks]
    over.columns([(at, rate, hint) for at, (rate, hint) in enumerate(zip(rates, hints, strict=True))], 1.0, "told")
    over.line([(0, nominal), (len(blocks), nominal)], "over", f"nominal {nominal:g}")
    legend = '<p class="legend"><span class="key even">as it should be</span><span class="key over">nominal</span></p>'
    return f'{legend}<div class="pair">{kept.svg()}{over.svg()}</div>'


def _delay(document: Document) -> str:
    delay = document.get("delay")
    if not delay or not delay["each_s"]:
        return _absent("no incident was found, or none is known", "")
    each, count = sorted(delay["each_s"]), len(delay["each_s"])
    most = max(each[-1], 1.0)
    chart = Chart(
        "Time to detect", Axis(0.1, most * 1.2, "seconds from its first edge", True), Axis(0, 1, "share of those found")
    )
    points = [(max(seconds, 0.1), (at + 1) / count) for at, seconds in enumerate(each)]
    chart.line(points, "found")
    half, most_of = (wording.seconds(delay[name]) for name in ("p50_s", "p95_s"))
    told = f"{count} found; half of them within {half}, 95 % within {most_of}."
    return f"<p>{text(told)}</p>{chart.svg()}"


def _seeds(document: Document) -> str:
    rows = document.get("seeds") or []
    if not rows:
        return _absent("only one seed was looked at", "`loomidi model train --seeds 0,1,2,3,4` trains five.")
    names = [name for name in rows[0] if name != "seed"]
    cells: list[list[Cell]] = [
        [(str(row["seed"]), row["seed"]), *((_figure(row[name]), row[name]) for name in names)] for row in rows
    ]
    spread = _spread(rows, names)
    recalls = [name for name in names if name.startswith("recall")]
    if not recalls:
        return table(("seed", *names), [*cells, *spread], set(range(1, len(names) + 1)))
    chart = Chart("Seeds", Axis(0, len(recalls), "figure"), Axis(0, 1, "recall of incidents"))
    for at, name in enumerate(recalls):
        chart.dots([(at + 0.5, row[name], f"seed {row['seed']}: {name} {row[name]:.3f}") for row in rows], "seed")
    order = ", then ".join(name.replace("_", " ") for name in recalls)
    told = f'<p class="dim">From left: {text(order)}. The model is the first seed, not the best.</p>'
    return told + chart.svg() + table(("seed", *names), [*cells, *spread], set(range(1, len(names) + 1)))


def _spread(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> list[list[Cell]]:
    """Mean and worst over seeds."""
    out: list[list[Cell]] = []
    for label, of in (("mean", lambda values, _: sum(values) / len(values)), ("worst", _worst)):
        figures = [of([float(row[name]) for row in rows], name) for name in names]
        out.append([(label, label), *((_figure(value), value) for value in figures)])
    return out


def _worst(values: list[float], name: str) -> float:
    return min(values) if name.startswith("recall") else max(values)


def _figure(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "not defined"


def _ablations(document: Document) -> str:
    rows = document.get("ablations") or []
    if not rows:
        return _absent("nothing was taken away from it", "`loomidi model train --ablate` does.")
    names = [name for name in rows[0] if name not in ("name", "features")]
    whole: Mapping[str, float] = next(
        (row for row in document.get("seeds") or [] if row["seed"] == document["model"]["seed"]), {}
    )
    cells: list[list[Cell]] = [[("as it is", ""), *((_figure(whole.get(name, math.nan)), name) for name in names)]]
    cells += [[(text(row["name"]), row["name"]), *((_figure(row[name]), row[name]) for name in names)] for row in rows]
    return table(("", *names), cells, set(range(1, len(names) + 1)))


def _drift(document: Document) -> str:
    drift = document.get("drift")
    if not drift:
        return _absent("drift was not looked at", "")
    figures = sorted(drift["psi"].items(), key=lambda item: -item[1])[:_MOST]
    limit = float(drift["limit"])
    most = max([2 * limit, *(figure for _, figure in figures)])
    rows = [Bar(name, figure, f"{figure:.3f}") for name, figure in figures]
    told = [f"{one['kind']}: {one['what']}, {one['figure']:.3g} (limit {one['limit']:.3g})" for one in drift["drifts"]]
    items = "".join(f"<li>{text(line)}</li>" for line in told) or "<li>nothing is beyond its limit</li>"
    missing = f'<p class="absent">{text(drift["missing"])}</p>' if drift.get("missing") else ""
    head = '<p class="dim">PSI of each feature, the test against what it learned from; totals and degrees grow.</p>'
    return f"<ul>{items}</ul>{missing}{head}{bars('PSI by feature', rows, most, limit)}"


def _misses(document: Document) -> str:
    misses = document.get("misses")
    if misses is None:
        return _absent("no incident is known in this stream", "")
    if not misses:
        return "<p>None.</p>"
    rows: list[list[Cell]] = [
        [(text(one["family"]), one["family"]), (wording.count(one["edges"]), one["edges"]), *_edge(one)]
        for one in misses
    ]
    more = f"<p>{wording.plural(document.get('missed', len(misses)), 'incident')} in all.</p>"
    return more + table(("family", "edges", "when (UTC)", "source", "destination", "least p-value"), rows, {1, 5})


def _false_alarms(document: Document) -> str:
    rows: list[list[Cell]] = [
        [*_edge(one), (text(_reasons(one["reasons"])), "")] for one in document.get("false_alarms") or []
    ]
    if not rows:
        return "<p>None.</p>"
    return table(("when (UTC)", "source", "destination", "p-value", "what was unusual"), rows, {3})


def _edge(one: Mapping[str, Any]) -> list[Cell]:
    when = wording.moment(int(one["at_ns"])).split(".")[0]
    return [
        (text(when), int(one["at_ns"])),
        (text(str(one["source"])), str(one["source"])),
        (text(str(one["destination"])), str(one["destination"])),
        (f"{one['p_value']:.2g}", float(one["p_value"])),
    ]


def _reasons(reasons: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{one['feature']} {one['value']:.3g} ({one['share']:.0%})" for one in reasons)


def _unlisted(count: int) -> str:
    return f"<p>And {count - _MOST} more.</p>" if count > _MOST else ""
