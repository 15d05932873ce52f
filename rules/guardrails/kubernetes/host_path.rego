package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No folders of the host
# description: A hostPath volume is a way out of the container onto the disk of the node.
# scope: rule
# custom:
#   profile: baseline
#   standard: 'PSS baseline: HostPath Volumes; CIS 5.2.12; NSA: Pod security'
#   severity: high
#   remediation: Use a volume claim, an emptyDir or a projected volume.
holds contains "host_path" if {
	every volume in objects.volumes { host_path_ok(volume) }
}

reason["host_path"] := objects.told("hostPath volumes", [volume |
	some volume in objects.volumes
	not host_path_ok(volume)
])

host_path_ok(volume) if objects.absent(volume, ["hostPath"])
