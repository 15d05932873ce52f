package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: No socket of the container runtime
# description: Who can talk to containerd, CRI-O or Docker can start anything on the node.
# scope: rule
# custom:
#   profile: practices
#   standard: 'CIS 5.2.12; NSA: Pod security'
#   severity: critical
#   remediation: Remove the volume; use the API of the cluster.
holds contains "runtime_socket" if {
	every volume in objects.volumes { runtime_socket_ok(volume) }
}

reason["runtime_socket"] := objects.told("volumes that reach the socket of a container runtime", [volume |
	some volume in objects.volumes
	not runtime_socket_ok(volume)
])

runtime_socket_ok(volume) if objects.absent(volume, ["hostPath"])

runtime_socket_ok(volume) if {
	is_string(volume.hostPath.path)
	path := trim_right(volume.hostPath.path, "/")
	every socket in runtime_sockets { runtime_socket_apart(path, socket) }
}

# A folder above the socket holds it too; /var/run is a link to /run on most nodes.
runtime_socket_apart(path, socket) if {
	path != socket
	not startswith(socket, sprintf("%s/", [path]))
}

runtime_sockets := {
	"/run/containerd/containerd.sock", "/var/run/containerd/containerd.sock",
	"/run/crio/crio.sock", "/var/run/crio/crio.sock",
	"/run/cri-dockerd.sock", "/var/run/cri-dockerd.sock",
	"/run/docker.sock", "/var/run/docker.sock",
	"/run/k3s/containerd/containerd.sock", "/var/run/k3s/containerd/containerd.sock",
}
