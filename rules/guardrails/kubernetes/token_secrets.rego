package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No tokens that never expire
# description: A Secret of type service-account-token is a credential without an end.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.1.6; NSA: Protecting secrets'
#   severity: medium
#   remediation: Use a projected token or the TokenRequest API.
holds contains "token_secrets" if objects.other_than({"Secret"})

holds contains "token_secrets" if {
	objects.kind in {"Secret"}
	objects.at(input.object, ["type"], "Opaque") != "kubernetes.io/service-account-token"
}

reason["token_secrets"] := objects.said("type", objects.at(input.object, ["type"], "Opaque"))
