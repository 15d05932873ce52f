"""A part of a page that a run writes, between two marks; what stands around it is its author's.

Called by whoever draws a table: `results`, `redteam`, `healing`, `drills`. In: page, marks, Markdown. Out: the page.
"""

from pathlib import Path

from loomidi.contracts.errors import InputError


def put_between(page: Path, begin: str, end: str, made: str) -> None:
    """Replace what stands between the marks by `made`, whole lines. Raises InputError when the page has none."""
    text = page.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise InputError(f"{page} lacks the lines {begin} and {end}; add them where the table belongs")
    before, after = text.partition(begin)[0], text.partition(end)[2]
    page.write_text(f"{before}{begin}\n{made}{end}{after}", encoding="utf-8")
