package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No token of the service account in pods
# description: The token in every pod is the first thing an intruder takes.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.1.6; NSA: Authentication and authorization'
#   severity: medium
#   remediation: Set automountServiceAccountToken to false where the API is not used.
holds contains "token_not_mounted" if objects.bystander

holds contains "token_not_mounted" if objects.at(objects.spec, ["automountServiceAccountToken"], true) == false

reason["token_not_mounted"] := objects.said("automountServiceAccountToken is", 
	objects.at(objects.spec, ["automountServiceAccountToken"], "not set"),
)
