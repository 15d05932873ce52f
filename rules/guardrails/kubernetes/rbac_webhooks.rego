package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Roles do not change admission webhooks
# description: A webhook sees and changes every object, Secrets included.
# scope: rule
# custom:
#   profile: practices
#   standard: CIS 5.1.12
#   severity: critical
#   remediation: Remove the verbs.
holds contains "rbac_webhooks" if objects.other_than({"ClusterRole"})

holds contains "rbac_webhooks" if {
	objects.kind in {"ClusterRole"}
	every grant in objects.grants { rbac_webhooks_ok(grant) }
}

reason["rbac_webhooks"] := objects.said("grants that are too wide:", [grant |
	some grant in objects.grants
	rbac_webhooks_wide(grant)
])

rbac_webhooks_ok(grant) if not rbac_webhooks_wide(grant)

rbac_webhooks_wide(grant) if {
	count({"admissionregistration.k8s.io", "*"} & objects.words(grant, "apiGroups")) > 0
	count(webhooks & objects.words(grant, "resources")) > 0
	count({"create", "update", "patch", "*"} & objects.words(grant, "verbs")) > 0
}

webhooks := {"mutatingwebhookconfigurations", "validatingwebhookconfigurations", "*"}
