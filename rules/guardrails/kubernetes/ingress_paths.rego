package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No paths of the controller itself
# description: The NGINX controller served its own files under such paths.
# scope: rule
# custom:
#   profile: practices
#   standard: CVE-2021-25745
#   severity: high
#   remediation: Choose another path.
holds contains "ingress_paths" if objects.other_than({"Ingress"})

holds contains "ingress_paths" if {
	objects.kind in {"Ingress"}
	every rule in objects.list(input.object, ["spec", "rules"]) { ingress_paths_ok(rule) }
}

reason["ingress_paths"] := objects.said("paths", [path.path |
	some rule in objects.list(input.object, ["spec", "rules"])
	some path in objects.list(rule, ["http", "paths"])
])

ingress_paths_ok(rule) if {
	every path in objects.list(rule, ["http", "paths"]) { ingress_paths_path(path) }
}

ingress_paths_path(path) if {
	text := objects.at(path, ["path"], "")
	is_string(text)
	not regex.match(ingress_paths_own, text)
}

ingress_paths_own := `/etc|/root|/var/run/secrets|/var/run/kubernetes/serviceaccount`
