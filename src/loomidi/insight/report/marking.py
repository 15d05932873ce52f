"""What every page is made of: escaped text, tables that its script can sort, hashes for its content policy.

Called by `page` and `model_page`. In: text of any origin, cells. Out: HTML.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence

from loomidi.insight import wording

Cell = tuple[str, str | float]  # what is shown (HTML), what it is sorted by


def content_hash(source: str) -> str:
    """Of a style or script, as a content policy names what may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def table(heads: Iterable[str], rows: Iterable[Sequence[Cell]], right: set[int]) -> str:
    """A table that the page's script can sort; `right`: columns of figures. Cells hold HTML already."""
    head = "".join(
        f'<th{" class=figure" if at in right else ""}><button type="button">{text(name)}</button></th>'
        for at, name in enumerate(heads)
    )
    lines = "".join(
        "<tr>"
        + "".join(
            f'<td{" class=figure" if at in right else ""} data-by="{text(str(by))}">{shown}</td>'
            for at, (shown, by) in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def text(plain: str) -> str:
    """Escaped for element content and quoted attributes; control characters become `?`."""
    return html.escape("\n".join(wording.printable(line) for line in plain.split("\n")), quote=True)
