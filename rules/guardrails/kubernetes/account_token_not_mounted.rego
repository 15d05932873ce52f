package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Service accounts do not hand out their token
# description: The token in every pod is the first thing an intruder takes.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.1.6; NSA: Authentication and authorization'
#   severity: medium
#   remediation: Set automountServiceAccountToken to false in the ServiceAccount.
holds contains "account_token_not_mounted" if objects.other_than({"ServiceAccount"})

holds contains "account_token_not_mounted" if {
	objects.kind in {"ServiceAccount"}
	objects.at(input.object, ["automountServiceAccountToken"], true) == false
}

reason["account_token_not_mounted"] := objects.said(
	"automountServiceAccountToken is",
	objects.at(input.object, ["automountServiceAccountToken"], "none"),
)
