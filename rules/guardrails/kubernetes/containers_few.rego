package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: At most four containers in a pod
# description: Many containers in one pod live and die together.
# scope: rule
# custom:
#   profile: practices
#   standard: none
#   severity: low
#   remediation: Split the pod.
holds contains "containers_few" if count(objects.main) <= 4

reason["containers_few"] := objects.plain(sprintf("%v containers, most is 4", [count(objects.main)]))
