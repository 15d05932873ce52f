package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Nothing schedules itself onto the control plane
# description: Beside the API server and etcd a break-out costs the cluster.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Control plane hardening'
#   severity: medium
#   remediation: Remove the toleration of the control plane.
holds contains "control_plane" if {
	every toleration in objects.list(objects.spec, ["tolerations"]) { control_plane_ok(toleration) }
}

reason["control_plane"] := objects.told("tolerations of the control plane", [toleration |
	some toleration in objects.list(objects.spec, ["tolerations"])
	not control_plane_ok(toleration)
])

control_plane_ok(toleration) if {
	key := objects.at(toleration, ["key"], "")
	not key in {
		"", "node-role.kubernetes.io/master", "node-role.kubernetes.io/control-plane",
	}
}
