package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: A PodDisruptionBudget lets something move
# description: 'maxUnavailable: 0 stops every drain of a node.'
# scope: rule
# custom:
#   profile: practices
#   standard: none
#   severity: low
#   remediation: Set maxUnavailable above 0.
holds contains "disruption_allowed" if objects.other_than({"PodDisruptionBudget"})

holds contains "disruption_allowed" if {
	objects.kind in {"PodDisruptionBudget"}
	disruption_allowed_ok(objects.at(input.object, ["spec", "maxUnavailable"], 1))
}

reason["disruption_allowed"] := objects.said(
	"maxUnavailable",
	objects.at(input.object, ["spec", "maxUnavailable"], "none"),
)

disruption_allowed_ok(most) if objects.above_zero(most)

disruption_allowed_ok(most) if {
	is_string(most)
	regex.match(`^[1-9][0-9]*%$`, most)
}
