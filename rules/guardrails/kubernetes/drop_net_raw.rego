package loomidi.guardrails.kubernetes

import rego.v1

import data.loomidi.guardrails.objects

# METADATA
# title: NET_RAW is dropped
# description: NET_RAW lets a container forge packets on the network of the pods.
# scope: rule
# custom:
#   profile: practices
#   standard: CIS 5.2.8
#   severity: medium
#   remediation: Add NET_RAW, or ALL, to capabilities.drop.
holds contains "drop_net_raw" if {
	every container in objects.containers { drop_net_raw_ok(container) }
}

reason["drop_net_raw"] := objects.told("NET_RAW is not dropped in", [container |
	some container in objects.containers
	not drop_net_raw_ok(container)
])

drop_net_raw_ok(container) if count({"ALL", "NET_RAW", "CAP_NET_RAW"} & objects.dropped(container)) > 0
