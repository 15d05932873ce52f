package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Every rule of an Ingress names its host
# description: A rule without a host takes the traffic of all hosts.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Network separation and hardening'
#   severity: medium
#   remediation: Add host to every rule.
holds contains "ingress_host" if objects.other_than({"Ingress"})

holds contains "ingress_host" if {
	objects.kind in {"Ingress"}
	every rule in objects.list(input.object, ["spec", "rules"]) { objects.stated(rule, ["host"]) }
}

reason["ingress_host"] := objects.said("hosts", [objects.at(rule, ["host"], "") |
	some rule in objects.list(input.object, ["spec", "rules"])
])
