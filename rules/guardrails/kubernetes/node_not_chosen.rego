package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Pods do not choose their node
# description: nodeName goes past the scheduler; both tie a pod to one place.
# scope: rule
# custom:
#   profile: practices
#   standard: none
#   severity: low
#   remediation: Remove nodeName and nodeSelector; use affinity.
holds contains "node_not_chosen" if {
	objects.absent(objects.spec, ["nodeName"])
	objects.absent(objects.spec, ["nodeSelector"])
}

reason["node_not_chosen"] := objects.plain(sprintf("nodeName %v, nodeSelector %v", [
	objects.at(objects.spec, ["nodeName"], "none"),
	objects.at(objects.spec, ["nodeSelector"], "none"),
]))
