package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Only sysctls that stay inside the pod
# description: Other sysctls reach other pods of the node, or switch off its defences.
# scope: rule
# custom:
#   profile: baseline
#   standard: 'PSS baseline: Sysctls'
#   severity: high
#   remediation: Remove the sysctl, or have it set on the node.
holds contains "sysctls" if {
	every sysctl in objects.list(objects.spec, ["securityContext", "sysctls"]) { sysctls_ok(sysctl) }
}

reason["sysctls"] := objects.told("sysctls that are not allowed", [sysctl |
	some sysctl in objects.list(objects.spec, ["securityContext", "sysctls"])
	not sysctls_ok(sysctl)
])

sysctls_ok(sysctl) if objects.at(sysctl, ["name"], "kernel.shm_rmid_forced") in safe_sysctls

safe_sysctls := {
	"kernel.shm_rmid_forced",
	"net.ipv4.ip_local_port_range",
	"net.ipv4.ip_local_reserved_ports",
	"net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.ping_group_range",
	"net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl",
	"net.ipv4.tcp_keepalive_probes",
	"net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_syncookies",
}
