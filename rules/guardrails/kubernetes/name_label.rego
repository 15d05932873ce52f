package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Pods carry the label app.kubernetes.io/name
# description: Policies and graphs select pods by it.
# scope: rule
# custom:
#   profile: practices
#   standard: none
#   severity: low
#   remediation: Add the label to the pod, or to the pod template.
holds contains "name_label" if objects.bystander

holds contains "name_label" if objects.stated(objects.pod, ["metadata", "labels", "app.kubernetes.io/name"])

reason["name_label"] := objects.said("labels", objects.at(objects.pod, ["metadata", "labels"], "none"))
