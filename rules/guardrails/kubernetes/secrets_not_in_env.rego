package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Secrets are not in the environment
# description: The environment ends up in logs, dumps and child processes.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.4.1; NSA: Protecting secrets'
#   severity: medium
#   remediation: Mount the Secret as a file.
holds contains "secrets_not_in_env" if {
	every container in objects.containers { secrets_not_in_env_ok(container) }
}

reason["secrets_not_in_env"] := objects.told("Secrets in the environment of", [container |
	some container in objects.containers
	not secrets_not_in_env_ok(container)
])

secrets_not_in_env_ok(container) if {
	every variable in objects.list(container, ["env"]) {
		objects.absent(variable, ["valueFrom", "secretKeyRef"])
	}
	every source in objects.list(container, ["envFrom"]) { objects.absent(source, ["secretRef"]) }
}
