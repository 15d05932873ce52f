package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Pods are shaped as the API asks for
# description: What has no containers, or text where an object belongs, says nothing about what would run.
# scope: rule
# custom:
#   profile: baseline
#   standard: none
#   severity: high
#   remediation: Write the manifest as the API documents it; kubectl apply --dry-run=server tells what is wrong.
holds contains "well_formed" if objects.bystander

holds contains "well_formed" if {
	objects.workload
	count(objects.main) > 0
	every volume in objects.volumes { is_string(volume.name) }
	every holder in objects.holders { well_formed_ok(holder) }
}

reason["well_formed"] := objects.told("not shaped as the API asks for", [h |
	some h in objects.holders
	not well_formed_ok(h)
])

well_formed_ok(holder) if {
	is_string(holder.name)
	is_object(objects.at(holder, ["securityContext"], {}))
	is_object(objects.at(holder, ["securityContext", "capabilities"], {}))
	is_object(objects.at(holder, ["securityContext", "seLinuxOptions"], {}))
	is_object(objects.at(holder, ["securityContext", "seccompProfile"], {}))
	is_object(objects.at(holder, ["securityContext", "windowsOptions"], {}))
	is_object(objects.at(holder, ["securityContext", "appArmorProfile"], {}))
}
