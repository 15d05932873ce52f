package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No namespaces of the host
# description: With the PID, IPC or network namespace of the node a pod sees and reaches what is not its own.
# scope: rule
# custom:
#   profile: baseline
#   standard: 'PSS baseline: Host Namespaces; CIS 5.2.3, 5.2.4, 5.2.5; NSA: Pod security'
#   severity: critical
#   remediation: Remove hostPID, hostIPC and hostNetwork.
holds contains "host_namespaces" if {
	is_object(objects.spec)
	every name in host_namespaces_names { objects.at(objects.spec, [name], false) == false }
}

reason["host_namespaces"] := objects.plain(sprintf("namespaces of the host: %v", [shared])) if {
	shared := [name | some name in host_namespaces_names; objects.at(objects.spec, [name], false) != false]
}

host_namespaces_names := ["hostPID", "hostIPC", "hostNetwork"]
