package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No wildcard in the host of an Ingress
# description: It takes the traffic of hosts that belong to others.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Network separation and hardening'
#   severity: medium
#   remediation: Name the hosts.
holds contains "ingress_wildcard" if objects.other_than({"Ingress"})

holds contains "ingress_wildcard" if {
	objects.kind in {"Ingress"}
	every rule in objects.list(input.object, ["spec", "rules"]) { ingress_wildcard_ok(rule) }
}

reason["ingress_wildcard"] := objects.said("hosts", [objects.at(rule, ["host"], "") |
	some rule in objects.list(input.object, ["spec", "rules"])
])

ingress_wildcard_ok(rule) if {
	host := objects.at(rule, ["host"], "")
	is_string(host)
	not contains(host, "*")
}
