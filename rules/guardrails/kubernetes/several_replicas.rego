package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Deployments have more than one replica
# description: One replica is an outage at every drain of its node.
# scope: rule
# custom:
#   profile: practices
#   standard: none
#   severity: low
#   remediation: Set spec.replicas to 2 or more.
holds contains "several_replicas" if objects.other_than({"Deployment"})

holds contains "several_replicas" if {
	replicas := input.object.spec.replicas
	is_number(replicas)
	replicas > 1
}

reason["several_replicas"] := objects.said(
	"replicas",
	objects.at(input.object, ["spec", "replicas"], "not set"),
)
