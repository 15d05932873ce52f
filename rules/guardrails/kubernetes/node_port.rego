package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No Service of type NodePort
# description: It opens the port on every node, past network policies.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Network separation and hardening'
#   severity: medium
#   remediation: Use a ClusterIP behind an Ingress or a Gateway.
holds contains "node_port" if objects.other_than({"Service"})

holds contains "node_port" if {
	objects.kind in {"Service"}
	objects.at(input.object, ["spec", "type"], "ClusterIP") != "NodePort"
}

reason["node_port"] := objects.said("type", objects.at(input.object, ["spec", "type"], "ClusterIP"))
