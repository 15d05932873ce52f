"""The Rego engine in a process of its own, which answers one question after another about one policy.

Run as a file by `engine`, never imported by it: nothing of ours is loaded beside the engine (docs/adr/0101). In: lines
of JSON on standard input, first `{"modules": texts by name, "package": path}`, then `{"document", "enough"}` each. Out:
a line of JSON for each of them: `{}` for the first, then `{"answer": [holds, reason]}` or `{"error": why}`.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any


class Policy:
    """The compiled policy."""

    def __init__(self, modules: Mapping[str, str], package: str) -> None:
        """Raises ValueError when it does not compile, ImportError without the engine."""
        import regopy

        self._holds, self._reason = f"{package}/holds", f"{package}/reason"
        self._interpreter = regopy.Interpreter()
        self._interpreter.log_level = regopy.LogLevel.NONE
        for name, text in modules.items():
            self._interpreter.add_module(name, text)
        self._bundle = self._interpreter.build(None, [self._holds, self._reason])
        if not self._bundle.ok():
            raise ValueError("the policy does not compile; check it with `opa check`")

    def asked(self, document: Mapping[str, Any], enough: list[str] | None) -> tuple[Any, Any]:
        """(`holds`, `reason`); no reasons when all of `enough` hold. None: undefined."""
        self._interpreter.set_input(document)
        holds = self._value(self._holds)
        satisfied = enough is not None and isinstance(holds, list) and set(enough) <= set(map(str, holds))
        return holds, {} if satisfied else self._value(self._reason)

    def _value(self, entry: str) -> Any:
        output = self._interpreter.query_bundle_entrypoint(self._bundle, entry)
        if not output.ok():
            raise ValueError(f"the policy failed: {output}")
        expressions = output.results[0].expressions if output.results else []
        return expressions[0] if expressions else None


def main() -> None:
    """Answer until nobody asks any more."""
    for told in (signal.SIGINT, signal.SIGTERM):
        signal.signal(told, signal.SIG_IGN)  # whoever asks is told too, may have to ask until the end, and we end then
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the engine prints is no answer
    policy = _compiled(sys.stdin.readline())
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(_said(policy, line)) + "\n")
        answers.flush()


def _compiled(line: str) -> "Policy | str":
    """Or why there is none."""
    try:
        first = json.loads(line)
        return Policy(first["modules"], first["package"])
    except Exception as error:  # noqa: BLE001 - handed to whoever asks
        return str(error) or type(error).__name__


def _said(policy: "Policy | str", line: str) -> dict[str, Any]:
    if isinstance(policy, str):
        return {"error": policy}
    try:
        question = json.loads(line)
        return {"answer": policy.asked(question["document"], question["enough"])}
    except Exception as error:  # noqa: BLE001 - handed to the one who asked
        return {"error": str(error) or type(error).__name__}


if __name__ == "__main__":
    main()
