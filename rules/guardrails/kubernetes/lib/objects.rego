# What the rules of this folder ask of a manifest: its kind, its pod, its containers, and values that may be absent.
#
# Input: {"object": one Kubernetes object}. Of an object that is no workload the pod is empty, so that rules on pods hold
# for it. What is not shaped as the API asks for (no kind, text where a list belongs) is undefined here, and a rule that
# leans on it does not hold.
#
# Never write `not` inside `every`: rego-cpp takes such a body for true. Give it a name (`x_ok(y) if not ...`).
package loomidi.guardrails.objects

import rego.v1

kind := input.object.kind if is_string(input.object.kind)

templated := {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"}

workloads := {"Pod", "PodTemplate", "CronJob"} | templated

workload if kind in workloads

workload if alike

bystander if {
	other_than(workloads)
	not alike
}

# Any other kind that carries a pod template in the usual place: Rollout, DeploymentConfig, Knative's Service.
alike if {
	other_than(workloads)
	is_array(input.object.spec.template.spec.containers)
}

other_than(kinds) if {
	is_string(kind)
	not kind in kinds
}

pod := input.object if kind == "Pod"

pod := input.object.template if kind == "PodTemplate"

pod := input.object.spec.template if kind in templated

pod := input.object.spec.template if alike

pod := input.object.spec.jobTemplate.spec.template if kind == "CronJob"

pod := {"spec": {}} if bystander

spec := pod.spec if is_object(pod.spec)

main := list(spec, ["containers"])

init := list(spec, ["initContainers"])

ephemeral := list(spec, ["ephemeralContainers"])

containers := array.concat(array.concat(main, init), ephemeral)

volumes := list(spec, ["volumes"])

# All that can carry a securityContext: the pod itself first, then its containers.
holders := array.concat([{"name": "the pod", "securityContext": object.get(spec, "securityContext", null)}], containers)

annotations := found if {
	found := at(pod, ["metadata", "annotations"], {})
	is_object(found)
}

# A null is what YAML makes of a key without a value; the API takes it for absent.
at(value, path, otherwise) := found if {
	is_object(value)
	found := object.get(value, path, otherwise)
	found != null
}

at(value, path, otherwise) := otherwise if {
	is_object(value)
	object.get(value, path, otherwise) == null
}

absent(value, path) if {
	is_object(value)
	object.get(value, path, null) == null
}

# There, and not empty. A number counts: `cpu: 1` is a quantity.
stated(value, path) if {
	found := at(value, path, "")
	not found in {"", null}
}

list(value, path) := found if {
	found := at(value, path, [])
	is_array(found)
}

# The grants of a role; undefined when one of them is not shaped as the API asks for.
grants := found if {
	found := list(input.object, ["rules"])
	every grant in found { readable(grant) }
}

readable(grant) if {
	is_array(list(grant, ["verbs"]))
	is_array(list(grant, ["resources"]))
	is_array(list(grant, ["apiGroups"]))
}

words(value, key) := {word | some word in list(value, [key])}

dropped(container) := {upper(name) |
	some name in list(container, ["securityContext", "capabilities", "drop"])
	is_string(name)
}

# Engines do not order mixed types alike, so only numbers are ever compared.
above_zero(value) if {
	is_number(value)
	value > 0
}

# Text from the manifest as it may stand in a reason: one line, without quotes (rego-cpp does not escape them).
plain(value) := substring(regex.replace(sprintf("%v", [value]), `["\\[:cntrl:]]`, "'"), 0, 400)

# concat, because sprintf of rego-cpp keeps the quotes of a constant that came in as an argument.
said(what, value) := concat(" ", [what, plain(value)])

told(what, found) := concat(": ", [what, names(found)])

names([]) := "none"

names(found) := concat(", ", [name_of(one) | some one in found]) if count(found) > 0

name_of(one) := plain(at(one, ["name"], at(one, ["key"], "unnamed")))
