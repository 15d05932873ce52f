package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Only volume types that stay in the cluster
# description: Other types reach a disk of the node or a store that the cluster does not account for.
# scope: rule
# custom:
#   profile: restricted
#   standard: 'PSS restricted: Volume Types'
#   severity: medium
#   remediation: Use a volume claim, a ConfigMap, a Secret, an emptyDir, a projected or an ephemeral volume, or CSI.
holds contains "volume_types" if {
	every volume in objects.volumes { volume_types_ok(volume) }
}

reason["volume_types"] := objects.told("volumes of another type", [volume |
	some volume in objects.volumes
	not volume_types_ok(volume)
])

volume_types_ok(volume) if {
	is_object(volume)
	object.keys(volume) - usual_volumes == set()
}

usual_volumes := {
	"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral",
	"persistentVolumeClaim", "projected", "secret",
}
