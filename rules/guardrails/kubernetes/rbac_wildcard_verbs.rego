package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Roles name their verbs
# description: 'A * also grants what is added to the API later.'
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.1.3; NSA: Authentication and authorization'
#   severity: high
#   remediation: List the verbs.
holds contains "rbac_wildcard_verbs" if objects.other_than({"Role", "ClusterRole"})

holds contains "rbac_wildcard_verbs" if {
	objects.kind in {"Role", "ClusterRole"}
	every grant in objects.grants { rbac_wildcard_verbs_ok(grant) }
}

reason["rbac_wildcard_verbs"] := objects.said("grants that are too wide:", [grant |
	some grant in objects.grants
	rbac_wildcard_verbs_wide(grant)
])

rbac_wildcard_verbs_ok(grant) if not rbac_wildcard_verbs_wide(grant)

rbac_wildcard_verbs_wide(grant) if "*" in objects.list(grant, ["verbs"])
