package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No Service of type LoadBalancer
# description: Each one is an address of its own on the internet.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Network separation and hardening'
#   severity: low
#   remediation: Share an Ingress or a Gateway.
holds contains "load_balancer" if objects.other_than({"Service"})

holds contains "load_balancer" if {
	objects.kind in {"Service"}
	objects.at(input.object, ["spec", "type"], "ClusterIP") != "LoadBalancer"
}

reason["load_balancer"] := objects.said("type", objects.at(input.object, ["spec", "type"], "ClusterIP"))
