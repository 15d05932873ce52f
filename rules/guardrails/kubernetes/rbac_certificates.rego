package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Roles do not approve certificates
# description: Who approves a signing request can become anybody, the control plane included.
# scope: rule
# custom:
#   profile: practices
#   standard: CIS 5.1.11
#   severity: critical
#   remediation: Remove the verbs.
holds contains "rbac_certificates" if objects.other_than({"ClusterRole"})

holds contains "rbac_certificates" if {
	objects.kind in {"ClusterRole"}
	every grant in objects.grants { rbac_certificates_ok(grant) }
}

reason["rbac_certificates"] := objects.said("grants that are too wide:", [grant |
	some grant in objects.grants
	rbac_certificates_wide(grant)
])

rbac_certificates_ok(grant) if not rbac_certificates_wide(grant)

rbac_certificates_wide(grant) if {
	"certificatesigningrequests/approval" in objects.list(grant, ["resources"])
	count({"update", "patch", "*"} & objects.words(grant, "verbs")) > 0
}

rbac_certificates_wide(grant) if {
	"signers" in objects.list(grant, ["resources"])
	count({"approve", "*"} & objects.words(grant, "verbs")) > 0
}
