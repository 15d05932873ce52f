package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: AppArmor is not switched off
# description: The default profile of the runtime, or one that is loaded on the node, must stay in place.
# scope: rule
# custom:
#   profile: baseline
#   standard: 'PSS baseline: AppArmor; CIS 5.7.3'
#   severity: medium
#   remediation: Use RuntimeDefault or Localhost, or leave the profile out.
holds contains "apparmor" if {
	every name, profile in objects.annotations { apparmor_note_ok(name, profile) }
	every holder in objects.holders { apparmor_ok(holder) }
}

reason["apparmor"] := objects.plain(sprintf("AppArmor is off: by annotation %s; by field %s", [
	concat(", ", sort(apparmor_notes)),
	objects.names([holder | some holder in objects.holders; not apparmor_ok(holder)]),
]))

apparmor_notes contains name if {
	some name, profile in objects.annotations
	not apparmor_note_ok(name, profile)
}

apparmor_note_ok(name, _) if not startswith(name, "container.apparmor.security.beta.kubernetes.io/")

apparmor_note_ok(_, profile) if profile in {"", "runtime/default"}

apparmor_note_ok(_, profile) if {
	is_string(profile)
	startswith(profile, "localhost/")
}

apparmor_ok(holder) if {
	profile := objects.at(holder, ["securityContext", "appArmorProfile", "type"], "RuntimeDefault")
	profile in {"RuntimeDefault", "Localhost"}
}
