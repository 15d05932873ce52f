package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No supplemental group 0
# description: Group 0 owns much of what root owns.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Pod security'
#   severity: medium
#   remediation: Take 0 out of securityContext.supplementalGroups.
holds contains "non_root_supplemental_groups" if {
	every group in objects.list(objects.spec, ["securityContext", "supplementalGroups"]) {
		objects.above_zero(group)
	}
}

reason["non_root_supplemental_groups"] := objects.said(
	"supplementalGroups",
	objects.at(objects.spec, ["securityContext", "supplementalGroups"], []),
)
