package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Containers are probed
# description: Without a probe traffic goes to a container that does not answer.
# scope: rule
# custom:
#   profile: practices
#   standard: none
#   severity: low
#   remediation: Add a livenessProbe, readinessProbe or startupProbe.
holds contains "probes" if objects.other_than(probes_kinds)

holds contains "probes" if {
	objects.kind in probes_kinds
	every container in objects.main { probes_ok(container) }
}

reason["probes"] := objects.told("no probe in", [c | some c in objects.main; not probes_ok(c)])

# What runs to its end (Job, CronJob) is not probed.
probes_kinds := {"Pod", "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ReplicationController"}

probes_ok(container) if {
	is_object(container)
	some name in {"livenessProbe", "readinessProbe", "startupProbe"}
	name in object.keys(container)
}
