"""Playbooks: OASIS CACAO v2.0 documents read, checked, run through guards and engine, and written from incidents.

Called by `services.playing` and `conductor`. `reading` and `checking` make a `Playbook` of a document; `Runner` runs it
with the `Hands` that it is given and never imports what acts; `exporting` writes an incident as a playbook; `openc2`
and `answering` speak OpenC2.
"""

from loomidi.ionic.errors import Problem
from loomidi.ionic.playbooks.answering import Consumer
from loomidi.ionic.playbooks.exporting import Incident, commands_for, exported, finding_of, incidents
from loomidi.ionic.playbooks.hands import Hands, Outcome
from loomidi.ionic.playbooks.reading import Playbook, library, load, read_playbook, written
from loomidi.ionic.playbooks.running import Report, Runner, told
from loomidi.ionic.playbooks.runs import FILE_NAME, MemoryRuns, Run, SqliteRuns
from loomidi.ionic.playbooks.walking import RunLimits

__all__ = [
    "FILE_NAME",
    "Consumer",
    "Hands",
    "Incident",
    "MemoryRuns",
    "Outcome",
    "Playbook",
    "Problem",
    "Report",
    "Run",
    "RunLimits",
    "Runner",
    "SqliteRuns",
    "commands_for",
    "exported",
    "finding_of",
    "incidents",
    "library",
    "load",
    "read_playbook",
    "told",
    "written",
]
