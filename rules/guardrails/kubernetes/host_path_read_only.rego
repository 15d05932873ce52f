package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: Folders of the host are mounted read-only
# description: A container that writes to the disk of the node can change what runs there.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.2.12; NSA: Pod security'
#   severity: high
#   remediation: 'Set readOnly: true on the mount.'
holds contains "host_path_read_only" if {
	is_array(objects.volumes)
	every container in objects.containers { host_path_read_only_ok(container) }
}

reason["host_path_read_only"] := objects.told(
	"folders of the host are writable in",
	[container | some container in objects.containers; not host_path_read_only_ok(container)],
)

host_path_read_only_ok(container) if {
	every mount in objects.list(container, ["volumeMounts"]) { host_path_read_only_mount(mount) }
}

host_path_read_only_mount(mount) if objects.at(mount, ["readOnly"], false) == true

host_path_read_only_mount(mount) if {
	is_string(mount.name)
	not mount.name in host_path_volumes
}

host_path_volumes contains volume.name if {
	some volume in objects.volumes
	not objects.absent(volume, ["hostPath"])
}
