package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Liveness and readiness are different questions
# description: With the same probe a pod that is busy is killed instead of left alone.
# scope: rule
# custom:
#   profile: practices
#   standard: none
#   severity: low
#   remediation: Let the liveness probe ask for less.
holds contains "probes_differ" if objects.other_than({"Deployment", "DaemonSet", "StatefulSet"})

holds contains "probes_differ" if {
	every container in objects.main { probes_differ_ok(container) }
}

reason["probes_differ"] := objects.told("the same probe twice in", [c |
	some c in objects.main
	not probes_differ_ok(c)
])

probes_differ_ok(container) if {
	objects.at(container, ["readinessProbe"], "none") != objects.at(container, ["livenessProbe"], "no other")
}
