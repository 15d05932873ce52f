"""A Rego policy asked in a process of its own.

Run as a file by `rego_judging`, never imported by it: nothing of ours is loaded beside the engine. In: one JSON
document on standard input: module texts by name, the entry point, inputs. Out: one JSON document: the answer to each
input, or why there is none. A stranger's policy meets a native engine here, which cannot be interrupted: its time is
limited by the kernel, its memory by who started it (the engine's allocator does not start under a limit of the kernel),
and a crash ends only this process.
"""

import json
import resource
import sys
from typing import Any


def answers(asked: dict[str, Any]) -> dict[str, Any]:
    """`answers` in the order of the inputs, or `error`."""
    import regopy

    interpreter = regopy.Interpreter()
    interpreter.log_level = regopy.LogLevel.NONE  # it would write to standard output
    try:
        for name, text in asked["modules"].items():
            interpreter.add_module(name, text)
        bundle = interpreter.build(None, [asked["entry"]])
        if not bundle.ok():
            return {"error": "the policy does not compile; check it with `opa check`"}
        found = []
        for document in asked["inputs"]:
            interpreter.set_input(document)
            output = interpreter.query_bundle_entrypoint(bundle, asked["entry"])
            if not output.ok():
                return {"error": f"the policy failed: {output}"}
            expressions = output.results[0].expressions if output.results else []
            found.append(expressions[0] if expressions else {})
    except regopy.RegoError as error:
        return {"error": f"the policy does not compile: {error}"}
    except ValueError:  # the engine's own errors are not always JSON
        return {"error": "the policy does not compile: a function or name in it is not known to the engine"}
    return {"answers": found}


def main() -> None:
    """Answer and end."""
    asked = json.load(sys.stdin)
    seconds = int(asked["seconds"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    json.dump(answers(asked), sys.stdout)


if __name__ == "__main__":
    main()
