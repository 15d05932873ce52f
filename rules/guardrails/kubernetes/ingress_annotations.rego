package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Annotations carry no directives of NGINX
# description: alias, root, Lua and paths of the controller in an annotation read its files and its token.
# scope: rule
# custom:
#   profile: practices
#   standard: CVE-2021-25746
#   severity: high
#   remediation: Remove the annotation.
holds contains "ingress_annotations" if objects.other_than({"Ingress"})

holds contains "ingress_annotations" if {
	objects.kind in {"Ingress"}
	every text in objects.at(input.object, ["metadata", "annotations"], {}) { ingress_annotations_ok(text) }
}

reason["ingress_annotations"] := objects.said(
	"annotations",
	objects.at(input.object, ["metadata", "annotations"], {}),
)

ingress_annotations_ok(text) if {
	is_string(text)
	not regex.match(nginx_directives, text)
}

nginx_directives := concat("|", [
	`\s*alias\s*.*;`, `\s*root\s*.*;`, `/etc/(passwd|shadow|group|nginx|ingress-controller)`,
	`/var/run/secrets`, `.*_by_lua.*`,
])
