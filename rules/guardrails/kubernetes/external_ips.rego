package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No external addresses in Services
# description: Who names an external address gets the traffic that is meant for it.
# scope: rule
# custom:
#   profile: practices
#   standard: CVE-2020-8554
#   severity: high
#   remediation: Remove externalIPs.
holds contains "external_ips" if objects.other_than({"Service"})

holds contains "external_ips" if {
	objects.kind in {"Service"}
	objects.absent(input.object, ["spec", "externalIPs"])
}

reason["external_ips"] := objects.said("externalIPs", objects.at(input.object, ["spec", "externalIPs"], "none"))
