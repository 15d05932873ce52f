package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Nobody is bound to cluster-admin
# description: It is every right on everything.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.1.1; NSA: Authentication and authorization'
#   severity: critical
#   remediation: Bind a role with what is needed.
holds contains "binding_cluster_admin" if objects.other_than({"RoleBinding", "ClusterRoleBinding"})

holds contains "binding_cluster_admin" if {
	objects.kind in {"RoleBinding", "ClusterRoleBinding"}
	input.object.roleRef.name != "cluster-admin"
}

reason["binding_cluster_admin"] := objects.said("role", objects.at(input.object, ["roleRef", "name"], "none"))
