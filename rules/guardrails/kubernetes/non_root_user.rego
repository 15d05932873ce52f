package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No user id 0
# description: 'runAsUser: 0 is root, whatever the image says.'
# scope: rule
# custom:
#   profile: restricted
#   standard: 'PSS restricted: Running as Non-root user; CIS 5.2.7'
#   severity: high
#   remediation: Choose a user id above 0, or leave runAsUser out.
holds contains "non_root_user" if {
	every holder in objects.holders { non_root_user_ok(holder) }
}

reason["non_root_user"] := objects.told("user id 0 in", [holder |
	some holder in objects.holders
	not non_root_user_ok(holder)
])

non_root_user_ok(holder) if objects.above_zero(objects.at(holder, ["securityContext", "runAsUser"], 1))
