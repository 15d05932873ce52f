package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No rights for strangers or masters
# description: system:anonymous and system:unauthenticated are everybody; nothing can take rights from system:masters.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.1.7; NSA: Authentication and authorization'
#   severity: critical
#   remediation: Name users, groups or service accounts of your own.
holds contains "binding_system_groups" if objects.other_than({"RoleBinding", "ClusterRoleBinding"})

holds contains "binding_system_groups" if {
	objects.kind in {"RoleBinding", "ClusterRoleBinding"}
	every subject in objects.list(input.object, ["subjects"]) { binding_system_groups_ok(subject) }
}

reason["binding_system_groups"] := objects.said("subjects", [objects.at(s, ["name"], "") |
	some s in objects.list(input.object, ["subjects"])
])

binding_system_groups_ok(subject) if {
	name := objects.at(subject, ["name"], "")
	not name in system_groups
}

system_groups := {"system:anonymous", "system:unauthenticated", "system:masters"}
