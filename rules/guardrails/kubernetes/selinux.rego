package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: SELinux type, user and role are not chosen freely
# description: A type outside the container types, or any user or role, takes the container out of its confinement.
# scope: rule
# custom:
#   profile: baseline
#   standard: 'PSS baseline: SELinux; CIS 5.7.3'
#   severity: high
#   remediation: Remove seLinuxOptions.user and .role; use one of the container types.
holds contains "selinux" if {
	every holder in objects.holders { selinux_ok(holder) }
}

reason["selinux"] := objects.told("SELinux options that are not allowed in", [h |
	some h in objects.holders
	not selinux_ok(h)
])

selinux_types := {"", "container_t", "container_init_t", "container_kvm_t"}

selinux_ok(holder) if {
	options := objects.at(holder, ["securityContext", "seLinuxOptions"], {})
	objects.at(options, ["type"], "") in selinux_types
	objects.at(options, ["user"], "") == ""
	objects.at(options, ["role"], "") == ""
}
