package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Images name a version
# description: Without a tag, or with latest, nobody knows what runs, and a rollback brings the same image back.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Building secure container images'
#   severity: medium
#   remediation: Name a tag other than latest, or a digest.
holds contains "image_tag" if {
	every container in objects.containers { image_tag_ok(container) }
}

reason["image_tag"] := objects.told("no version of the image in", [container |
	some container in objects.containers
	not image_tag_ok(container)
])

image_tag_ok(container) if {
	is_string(container.image)
	contains(container.image, "@")
}

image_tag_ok(container) if {
	is_string(container.image)
	regex.match(`:[^:/]+$`, container.image)
	not endswith(container.image, ":latest")
}
