package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Images name a digest
# description: A tag can be moved to another image, a digest cannot.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.5.1; NSA: Building secure container images'
#   severity: medium
#   remediation: Name the image as name@sha256:digest.
holds contains "image_digest" if {
	every container in objects.containers { image_digest_ok(container) }
}

reason["image_digest"] := objects.told("no digest of the image in", [container |
	some container in objects.containers
	not image_digest_ok(container)
])

image_digest_ok(container) if {
	is_string(container.image)
	regex.match(`@sha256:[0-9a-f]{64}$`, container.image)
}
