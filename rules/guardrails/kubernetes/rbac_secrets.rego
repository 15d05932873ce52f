package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Roles do not read Secrets
# description: Who lists Secrets holds every credential of the namespace.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.1.2; NSA: Authentication and authorization'
#   severity: high
#   remediation: Mount the one Secret that is needed.
holds contains "rbac_secrets" if objects.other_than({"Role", "ClusterRole"})

holds contains "rbac_secrets" if {
	objects.kind in {"Role", "ClusterRole"}
	every grant in objects.grants { rbac_secrets_ok(grant) }
}

reason["rbac_secrets"] := objects.said("grants that are too wide:", [grant |
	some grant in objects.grants
	rbac_secrets_wide(grant)
])

rbac_secrets_ok(grant) if not rbac_secrets_wide(grant)

rbac_secrets_wide(grant) if {
	count({"secrets"} & objects.words(grant, "resources")) > 0
	count({"get", "list", "watch", "*"} & objects.words(grant, "verbs")) > 0
}
