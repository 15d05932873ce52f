package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Volumes do not belong to group 0
# description: fsGroup 0 gives the files of every volume to the group of root.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Pod security'
#   severity: medium
#   remediation: Set securityContext.fsGroup above 0.
holds contains "non_root_fs_group" if objects.above_zero(objects.at(objects.spec, ["securityContext", "fsGroup"], 1))

reason["non_root_fs_group"] := objects.said(
	"fsGroup",
	objects.at(objects.spec, ["securityContext", "fsGroup"], "none"),
)
