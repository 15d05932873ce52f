package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No snippets for the NGINX controller
# description: A snippet is configuration of the controller, written by whoever may write an Ingress.
# scope: rule
# custom:
#   profile: practices
#   standard: CVE-2021-25742
#   severity: high
#   remediation: 'Remove the annotation; set allow-snippet-annotations to "false".'
holds contains "ingress_snippets" if objects.other_than({"ConfigMap", "Ingress"})

holds contains "ingress_snippets" if {
	objects.kind == "ConfigMap"
	objects.at(input.object, ["data", "allow-snippet-annotations"], "false") == "false"
}

holds contains "ingress_snippets" if {
	objects.kind == "Ingress"
	annotations := objects.at(input.object, ["metadata", "annotations"], {})
	is_object(annotations)
	every name in object.keys(annotations) {
		ingress_snippets_ok(name)
	}
}

ingress_snippets_ok(name) if not endswith(name, "-snippet")

reason["ingress_snippets"] := objects.plain(sprintf("allow-snippet-annotations %v, annotations %v", [
	objects.at(input.object, ["data", "allow-snippet-annotations"], "not set"),
	object.keys(objects.at(input.object, ["metadata", "annotations"], {})),
]))
