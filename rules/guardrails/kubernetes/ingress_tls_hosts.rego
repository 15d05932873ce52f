package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Every host of an Ingress has a certificate
# description: A host that is not in tls is served with the certificate of another one.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Network separation and hardening'
#   severity: medium
#   remediation: 'Add the host to spec.tls[].hosts.'
holds contains "ingress_tls_hosts" if objects.other_than({"Ingress"})

holds contains "ingress_tls_hosts" if {
	objects.kind in {"Ingress"}
	every rule in objects.list(input.object, ["spec", "rules"]) { ingress_tls_hosts_ok(rule) }
}

reason["ingress_tls_hosts"] := objects.said("hosts without TLS:", [rule.host |
	some rule in objects.list(input.object, ["spec", "rules"])
	not ingress_tls_hosts_ok(rule)
])

ingress_tls_hosts_ok(rule) if objects.absent(rule, ["host"])

ingress_tls_hosts_ok(rule) if {
	some tls in objects.list(input.object, ["spec", "tls"])
	rule.host in objects.list(tls, ["hosts"])
}
