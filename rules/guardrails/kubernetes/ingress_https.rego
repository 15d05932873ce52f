package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: An Ingress speaks HTTPS only
# description: HTTP carries passwords and cookies in the clear.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Network separation and hardening'
#   severity: high
#   remediation: 'Add spec.tls and the annotation kubernetes.io/ingress.allow-http: "false".'
holds contains "ingress_https" if objects.other_than({"Ingress"})

holds contains "ingress_https" if {
	objects.kind in {"Ingress"}
	objects.at(input.object, ["metadata", "annotations", "kubernetes.io/ingress.allow-http"], "") == "false"
	count(objects.list(input.object, ["spec", "tls"])) > 0
}

reason["ingress_https"] := objects.plain(sprintf("allow-http %v, tls %v", [
	objects.at(input.object, ["metadata", "annotations", "kubernetes.io/ingress.allow-http"], "not set"),
	objects.at(input.object, ["spec", "tls"], "none"),
]))
