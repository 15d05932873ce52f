"""The table of verbs.

Read by `conductor.cli`. A verb is one file here, named as the verb, that exposes `command`; it is imported only when
called, so that `loomidi meter` does not pay for what `loomidi demo` needs. A verb whose file is missing fails a guard
test.
"""

VERBS: dict[str, str] = {
    "analyze": "Find attacks in captures, explain them, propose reversible folds.",
    "run": "Run the pipeline: bus, lake, ingestion API, from one configuration file.",
    "serve": "Run one service in a process of its own: node agent, ingestion API, operator, policy API.",
    "watch": "Watch live links: findings as they happen, with names and folds, nothing applied.",
    "meter": "Turn packets of captures or interfaces into flow records.",
    "replay": "Captures as if they were live, to the bus or the ingestion API; incidents, as tests.",
    "shield": "Deny, rate-limit or allow sources in the kernel, each entry with an end.",
    "tune": "Thresholds of the kernel, learned from normal traffic within bounds: show, propose, apply, undo.",
    "cuts": "Pods and sources that the node agent has cut here: list, give back.",
    "balance": "Account for every packet of an interface; it must add up.",
    "bus": "The streams of the bus and who lags behind; dead letters: list, show, publish anew.",
    "lake": "SQL over what was seen, as of any moment; the tables, their snapshots, and keeping them small.",
    "model": "Models that score edges: train, compare, promote past a gate, take back, explain, report.",
    "events": "Findings and receipts in the words of others: OCSF, STIX; queues of sinks, dead letters.",
    "receipts": "What was done, by which plan, how it is taken back; checks that no receipt was changed.",
    "fold": "The Folds of a cluster: list, show, propose, approve, deny, release.",
    "policy": "What the guardrails say about a plan or manifests; policies deployed, tested, taken back.",
    "playbook": "CACAO playbooks: list, validate, run, take back; incidents exported; OpenC2 commands answered.",
    "demo": "Attack a small network of namespaces and watch it being defended.",
    "bench": "Measure on public data sets with known answers: root causes.",
    "doctor": "What works on this machine, what does not, why, and how to mend it.",
}
