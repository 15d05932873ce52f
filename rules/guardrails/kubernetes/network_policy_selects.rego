package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: A NetworkPolicy selects the pods it is for
# description: With an empty selector it opens or closes the whole namespace; only the policy default-deny should.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.3.2; NSA: Network separation and hardening'
#   severity: medium
#   remediation: Add labels to spec.podSelector.
holds contains "network_policy_selects" if objects.other_than({"NetworkPolicy"})

holds contains "network_policy_selects" if {
	objects.kind in {"NetworkPolicy"}
	network_policy_selects_ok
}

reason["network_policy_selects"] := objects.said(
	"podSelector",
	objects.at(input.object, ["spec", "podSelector"], {}),
)

network_policy_selects_ok if input.object.metadata.name == "default-deny"

network_policy_selects_ok if count(objects.at(input.object, ["spec", "podSelector"], {})) > 0
