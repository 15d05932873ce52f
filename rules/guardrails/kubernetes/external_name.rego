package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No Service is a name of the host itself
# description: An ExternalName localhost leads an ingress controller to its own ports.
# scope: rule
# custom:
#   profile: practices
#   standard: CVE-2021-25742
#   severity: high
#   remediation: Name another host.
holds contains "external_name" if objects.other_than({"Service"})

holds contains "external_name" if {
	objects.kind in {"Service"}
	name := objects.at(input.object, ["spec", "externalName"], "")
	not name in {"localhost", "localhost."}
}

reason["external_name"] := objects.said(
	"externalName",
	objects.at(input.object, ["spec", "externalName"], "none"),
)
