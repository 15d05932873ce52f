package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Values of sysctls carry no second setting
# description: CRI-O took a + or = inside a value for another setting of the kernel.
# scope: rule
# custom:
#   profile: practices
#   standard: CVE-2022-0811
#   severity: high
#   remediation: Write one plain value.
holds contains "sysctl_values" if {
	every sysctl in objects.list(objects.spec, ["securityContext", "sysctls"]) { sysctl_values_ok(sysctl) }
}

reason["sysctl_values"] := objects.told("sysctls with + or = in their value", [sysctl |
	some sysctl in objects.list(objects.spec, ["securityContext", "sysctls"])
	not sysctl_values_ok(sysctl)
])

sysctl_values_ok(sysctl) if {
	value := sprintf("%v", [objects.at(sysctl, ["value"], "")])
	not contains(value, "+")
	not contains(value, "=")
}
