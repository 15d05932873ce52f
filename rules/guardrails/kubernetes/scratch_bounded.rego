package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Scratch space is bounded
# description: An emptyDir without a size, in a container without a limit of its own, fills the disk of the node.
# scope: rule
# custom:
#   profile: practices
#   standard: 'NSA: Resource policies'
#   severity: medium
#   remediation: Give the emptyDir a sizeLimit, or the container requests and limits for ephemeral-storage.
holds contains "scratch_bounded" if {
	is_array(objects.volumes)
	every container in objects.containers { scratch_bounded_ok(container) }
}

reason["scratch_bounded"] := objects.told(
	"scratch space without a bound in",
	[container | some container in objects.containers; not scratch_bounded_ok(container)],
)

scratch_bounded_ok(container) if {
	objects.stated(container, ["resources", "requests", "ephemeral-storage"])
	objects.stated(container, ["resources", "limits", "ephemeral-storage"])
}

scratch_bounded_ok(container) if {
	every mount in objects.list(container, ["volumeMounts"]) { scratch_bounded_mount(mount) }
}

scratch_bounded_mount(mount) if {
	is_string(mount.name)
	not mount.name in scratch_unbounded
}

scratch_unbounded contains volume.name if {
	some volume in objects.volumes
	is_object(volume)
	"emptyDir" in object.keys(volume)
	objects.absent(volume, ["emptyDir", "sizeLimit"])
}
