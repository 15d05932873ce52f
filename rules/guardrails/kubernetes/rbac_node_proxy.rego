package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Roles do not reach kubelets
# description: nodes/proxy runs commands in every pod of a node, past admission and the audit log.
# scope: rule
# custom:
#   profile: practices
#   standard: CIS 5.1.10
#   severity: critical
#   remediation: Remove nodes/proxy.
holds contains "rbac_node_proxy" if objects.other_than({"ClusterRole"})

holds contains "rbac_node_proxy" if {
	objects.kind in {"ClusterRole"}
	every grant in objects.grants { rbac_node_proxy_ok(grant) }
}

reason["rbac_node_proxy"] := objects.said("grants that are too wide:", [grant |
	some grant in objects.grants
	rbac_node_proxy_wide(grant)
])

rbac_node_proxy_ok(grant) if not rbac_node_proxy_wide(grant)

rbac_node_proxy_wide(grant) if {
	"nodes/proxy" in objects.list(grant, ["resources"])
	count({"", "*"} & objects.words(grant, "apiGroups")) > 0
}
