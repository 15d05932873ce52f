package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No default backend
# description: It answers for hosts that belong to others.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Network separation and hardening'
#   severity: high
#   remediation: Remove spec.defaultBackend.
holds contains "ingress_default_backend" if objects.other_than({"Ingress"})

holds contains "ingress_default_backend" if {
	objects.kind in {"Ingress"}
	objects.absent(input.object, ["spec", "defaultBackend"])
}

reason["ingress_default_backend"] := objects.said(
	"defaultBackend",
	objects.at(input.object, ["spec", "defaultBackend"], "none"),
)
