package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No Tiller
# description: Tiller of Helm 2 carries out whatever it is asked, with rights on the whole cluster.
# scope: rule
# custom:
#   profile: practices
#   standard: none
#   severity: high
#   remediation: Use Helm 3.
holds contains "helm_tiller" if {
	every container in objects.containers { helm_tiller_ok(container) }
}

reason["helm_tiller"] := objects.told("Tiller in", [container |
	some container in objects.containers
	not helm_tiller_ok(container)
])

helm_tiller_ok(container) if {
	is_string(container.image)
	not contains(container.image, "tiller")
}
