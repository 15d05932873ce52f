package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Probes run no expensive commands
# description: jcmd, ps and ls in a liveness probe cost much and say little.
# scope: rule
# custom:
#   profile: practices
#   standard: none
#   severity: medium
#   remediation: Probe by HTTP, TCP or gRPC.
holds contains "exec_probes" if {
	every container in objects.main { exec_probes_ok(container) }
}

reason["exec_probes"] := objects.told("commands that a probe should not run in", [container |
	some container in objects.main
	not exec_probes_ok(container)
])

exec_probes_ok(container) if {
	every word in objects.list(container, ["livenessProbe", "exec", "command"]) { exec_probes_word(word) }
}

exec_probes_word(word) if {
	is_string(word)
	not regex.match(`\b(jcmd|ps|ls)\b`, word)
}
