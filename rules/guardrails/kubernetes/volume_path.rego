package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: PersistentVolumes on a disk of the node stay under /data
# description: Any other path can be a system folder of the node.
# scope: rule
# custom:
#   profile: practices
#   standard: CIS 5.2.12
#   severity: medium
#   remediation: Use a storage class, or a path under /data.
holds contains "volume_path" if objects.other_than({"PersistentVolume"})

holds contains "volume_path" if {
	objects.kind in {"PersistentVolume"}
	volume_path_ok
}

reason["volume_path"] := objects.said(
	"hostPath",
	objects.at(input.object, ["spec", "hostPath", "path"], "none"),
)

volume_path_ok if objects.absent(input.object, ["spec", "hostPath"])

volume_path_ok if {
	path := input.object.spec.hostPath.path
	is_string(path)
	regex.match(`^/data(/|$)`, path)
	not contains(path, "..")
}
