package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No ephemeral containers
# description: A debugging container can be put into a running pod past what was reviewed.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Threat detection'
#   severity: medium
#   remediation: Remove ephemeralContainers.
holds contains "ephemeral_containers" if count(objects.ephemeral) == 0

reason["ephemeral_containers"] := objects.told("ephemeral containers", objects.ephemeral)
