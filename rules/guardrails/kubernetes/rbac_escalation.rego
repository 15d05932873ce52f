package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Roles do not hand out roles
# description: bind, escalate and impersonate on roles make every right reachable.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.1.8; NSA: Authentication and authorization'
#   severity: critical
#   remediation: Remove the verbs.
holds contains "rbac_escalation" if objects.other_than({"Role", "ClusterRole"})

holds contains "rbac_escalation" if {
	objects.kind in {"Role", "ClusterRole"}
	every grant in objects.grants { rbac_escalation_ok(grant) }
}

reason["rbac_escalation"] := objects.said("grants that are too wide:", [grant |
	some grant in objects.grants
	rbac_escalation_wide(grant)
])

rbac_escalation_ok(grant) if not rbac_escalation_wide(grant)

rbac_escalation_wide(grant) if {
	count({"rbac.authorization.k8s.io", "*"} & objects.words(grant, "apiGroups")) > 0
	count({"roles", "clusterroles", "*"} & objects.words(grant, "resources")) > 0
	count({"bind", "escalate", "impersonate", "*"} & objects.words(grant, "verbs")) > 0
}
