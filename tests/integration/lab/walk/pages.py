"""A page that can be followed: its shell steps in their order, and what each says is seen.

Used by the test beside it and by tests/guards/test_walk.py. In: Markdown. Out: steps. A block ```sh is a step. A block
```text right after it says what is seen: each of its lines is a line of the output, in this order; `...` stands for
anything, any run of blanks for any other. The first step declares names, as NAME=${NAME:-value}; nothing else changes.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DECLARED = re.compile(r"^(?:export )?([A-Z_]+)=\$\{\1:-([^}]*)\}", re.MULTILINE)
_STEP, _SEEN = "sh", "text"


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One block of the page."""

    line: int  # of the page, where its commands begin
    script: str
    seen: tuple[str, ...]

    @property
    def commands(self) -> list[list[str]]:
        """Its lines as words, those that go on joined; what a here-document holds is left out."""
        text = re.sub(r"<<(\w+)\n.*?^\1$", "", self.script, flags=re.MULTILINE | re.DOTALL)
        return [line.split() for line in text.replace("\\\n", " ").splitlines() if line.strip()]

    def lacking(self, output: str) -> str:
        """The first line that should be seen and is not; '' when all are."""
        lines = iter(map(_plain, output.splitlines()))
        return next((one for one in self.seen if not any(_pattern(one).fullmatch(line) for line in lines)), "")


def steps(markdown: str) -> list[Step]:
    """All of a page."""
    return list(_steps(markdown))


def declared(step: Step) -> dict[str, str]:
    """What a reader may change before anything is done, with what it is otherwise."""
    return dict(_DECLARED.findall(step.script))


def _steps(markdown: str) -> Iterator[Step]:
    blocks = list(_FENCE.finditer(markdown))
    for number, block in enumerate(blocks):
        if block[1] == _STEP:
            yield Step(markdown.count("\n", 0, block.start(2)) + 1, block[2], _seen_after(markdown, blocks, number))


def _seen_after(markdown: str, blocks: Sequence[re.Match[str]], number: int) -> tuple[str, ...]:
    """Of the block that follows with nothing but blank lines between."""
    following = blocks[number + 1] if number + 1 < len(blocks) else None
    if following is None or following[1] != _SEEN or markdown[blocks[number].end() : following.start()].strip():
        return ()
    return tuple(line for line in following[2].splitlines() if line.strip())


def _plain(line: str) -> str:
    return " ".join(line.split())


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, re.split(r" ?\.\.\. ?", _plain(line)))))
