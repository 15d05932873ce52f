"""A Rego engine that is asked from any thread: its process is started at the first question and ends with us.

Called by `rego`. In: module texts, questions. Out: what `answering` says, within a time. An answer that is late is
awaited before the next question; an engine that hangs is killed and started anew.
"""

import importlib.util
import json
import math
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loomidi.ionic.errors import NoPolicyEngine

HUNG_S = 30.0  # without an answer: a start on a busy machine takes some seconds
_PROGRAM = Path(__file__).with_name("answering.py")
Document = Mapping[str, Any]


class RegoEngine:
    """One policy, and the process that has compiled it."""

    def __init__(self, modules: Mapping[str, str], package: str) -> None:
        self._first = {"modules": dict(modules), "package": package}
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._end = weakref.finalize(self, _nothing)

    def ask(self, document: Document, enough: frozenset[str] | None, timeout_s: float) -> tuple[Any, Any]:
        """(`holds`, `reason`), no reasons where all of `enough` hold; None is undefined.

        Raises TimeoutError when it is late, ValueError for an input that the engine would change, NoPolicyEngine where
        there is no engine, it ended, or the policy has no answer.
        """
        if not _fits(document):
            raise ValueError("the input holds a number beyond 64 bits or a NUL, which the engine would change")
        question = json.dumps({"document": document, "enough": None if enough is None else sorted(enough)})
        until = time.monotonic() + timeout_s
        with self._lock:
            process = self._at_work()
            try:
                free = not process.owed_since or process.answer(until)
                line = process.asked(question, until) if free else b""
            except OSError as error:
                self._end()
                raise NoPolicyEngine(f"the policy engine has ended: {error}") from error
        if not free:
            raise TimeoutError("the policy engine is still busy: with its start, or with an earlier question")
        if not line:
            raise TimeoutError(f"the policy took longer than {timeout_s:g} s")
        said = json.loads(line)
        if "error" in said:
            raise NoPolicyEngine(said["error"])
        holds, reason = said["answer"]
        return holds, reason

    def _at_work(self) -> "_Process":
        """The process; a new one in place of one that hangs."""
        process = self._process
        if process is not None and process.owed_since and time.monotonic() - process.owed_since > HUNG_S:
            self._end()
        if process is None or not self._end.alive:
            if importlib.util.find_spec("regopy") is None:
                raise NoPolicyEngine("the Rego engine is missing; install regopy")
            process = self._process = _Process(self._first)
            self._end = weakref.finalize(self, process.end)
        return process


def _nothing() -> None:
    """There is no process yet."""


class _Process:
    """The engine at work. `owed_since`: when it was asked what it has not answered yet, monotonic s; 0: nothing."""

    def __init__(self, first: Document) -> None:
        self._ours, theirs = socket.socketpair()
        self._read = b""
        command = [sys.executable, "-P", str(_PROGRAM)]
        with theirs:
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno())
        self.owed_since = time.monotonic()
        self._ours.settimeout(HUNG_S)
        try:
            self._ours.sendall(json.dumps(first).encode() + b"\n")
        except OSError:
            self.end()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def asked(self, question: str, until: float) -> bytes:
        """Its answer; empty when that is late. Raises OSError when it has ended or does not take the question whole."""
        self.owed_since = time.monotonic()
        self._ours.settimeout(max(0.001, until - self.owed_since))
        try:
            self._ours.sendall(question.encode() + b"\n")
        except TimeoutError as error:
            raise BrokenPipeError("it did not take the question in time") from error
        return self.answer(until)

    def answer(self, until: float) -> bytes:
        """What it owes; empty when that is late. Raises OSError when the process has ended."""
        while b"\n" not in self._read:
            self._ours.settimeout(max(0.001, until - time.monotonic()))
            try:
                more = self._ours.recv(1 << 16)
            except TimeoutError:
                return b""
            if not more:
                raise BrokenPipeError("it said no more")
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        self.owed_since = 0.0
        return line

    def end(self) -> None:
        """At once; asked again it does nothing."""
        self._ours.close()
        self._process.kill()
        self._process.wait()


def _fits(value: object) -> bool:
    """Whether it arrives as it is: the engine's integers wrap around, its text ends at a NUL, and JSON has no NaN."""
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, Mapping):
        return all(map(_fits, value)) and all(map(_fits, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_fits, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63
