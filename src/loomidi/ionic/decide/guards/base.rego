# The base guardrail: what every plan of this project must satisfy, whoever proposed it.
#
# Read by RegoGuard (in process) and by an OPA server, with the same answers (tests/integration/opa).
# Input: {"plan": the plan without the fold's manifest, "facts": see docs/policy.md}.
# Output: holds, the names of the rules that hold; reason, what each rule looked at. A rule whose fields are missing is
# in neither, and the guard takes that as a denial. Types are checked before sizes: Rego engines do not order mixed
# types alike. Two documents instead of one joined one, because the join would take most of the time.
package loomidi.guardrails.base

import rego.v1

fold := input.plan.fold

radius := input.plan.blast_radius

limits := input.facts.limits

# Engines do not order mixed types alike (OPA: null < 1 < "a", others not), so only numbers are ever compared.
at_most(value, limit) if {
	is_number(value)
	is_number(limit)
	value <= limit
}

below(value, limit) if {
	is_number(value)
	is_number(limit)
	value < limit
}

named(text) if {
	is_string(text)
	text != ""
}

# mode: the plan is in the mode that is configured, and the mode is one we know.
reason["mode_known"] := sprintf("plan in mode %v, configured is %v", [input.plan.mode, input.facts.mode])

holds contains "mode_known" if {
	input.plan.mode == input.facts.mode
	input.plan.mode in {"shadow", "suggest", "guarded", "autonomous"}
}

# fresh: judged before it expires, and not made in the future.
reason["fresh"] := sprintf("made at %v, judged at %v, expires at %v", [
	input.plan.created_ns,
	input.facts.now_ns,
	input.plan.expires_ns,
])

holds contains "fresh" if {
	at_most(input.plan.created_ns, input.facts.now_ns)
	below(input.facts.now_ns, input.plan.expires_ns)
}

# severity: information never leads to an act.
reason["severity_acts"] := sprintf("severity %v", [input.plan.finding.severity])

holds contains "severity_acts" if input.plan.finding.severity in {"low", "medium", "high", "critical"}

# confidence: harder acts need a surer finding.
reason["confidence_enough"] := sprintf("confidence %v, %v needs %v", [
	input.plan.finding.confidence,
	fold.action,
	limits.min_confidence[fold.action],
])

holds contains "confidence_enough" if {
	at_most(input.plan.finding.confidence, 1)
	at_most(limits.min_confidence[fold.action], input.plan.finding.confidence)
}

# kind and action belong together.
reason["action_fits_kind"] := sprintf("%v by %v", [fold.kind, fold.action])

actions := {
	"RECONFIGURE_NETWORK": {"rate", "drop", "eject", "tune"},
	"ISOLATE_POD": {"isolate"},
	"SCALE_OUT": {"scale"},
	"CORDON": {"cordon"},
	"EVICT": {"evict"},
	"RESIZE": {"resize"},
	"RESTART": {"restart"},
	"ROLLBACK": {"rollback"},
	"TERMINATE": {"terminate"},
}

# by what the network may be changed; a fold that names none leaves it to the driver
means := {
	"drop": {"agent", "networkpolicy", "cilium", "istio"},
	"rate": {"agent"},
	"eject": {"istio"},
}

means_fit if object.get(fold, "means", "") == ""

means_fit if fold.means in means[fold.action]

# what is done to one object of a cluster, and of which kind that is
objects := {
	"cordon": "node",
	"eject": "service",
	"evict": "pod",
	"resize": "pod",
	"restart": "workload",
	"rollback": "workload",
	"terminate": "pod",
}

# no way back
final := {"evict", "terminate"}

# nobody is cut off from what he talks to
gentle := {"rate", "eject", "scale", "cordon", "resize", "restart", "rollback", "tune"}

holds contains "action_fits_kind" if {
	fold.action in actions[fold.kind]
	means_fit
}

# aimed: the fold names what it touches; a drop names a source, what changes one object names that in full.
reason["aimed"] := sprintf("source %v, destination %v, target %v", [
	fold.match.source,
	fold.match.destination,
	fold.target,
])

holds contains "aimed" if {
	named(fold.match.source)
	fold.action in {"rate", "drop", "isolate", "scale"}
}

holds contains "aimed" if {
	fold.action == "rate"
	named(fold.match.destination)
}

holds contains "aimed" if {
	fold.action in {"isolate", "scale"}
	named(fold.target)
}

holds contains "aimed" if {
	fold.action == "tune"
	regex.match(`^(host|service)/[^\s]+$`, fold.target)
	fold.match.source == ""
	fold.match.destination == ""
}

parts := split(fold.target, "/") if is_string(fold.target)

object_name(text) if regex.match(`^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`, text)

holds contains "aimed" if {
	objects[fold.action] == "node"
	count(parts) == 2
	parts[0] == "node"
	object_name(parts[1])
}

holds contains "aimed" if {
	objects[fold.action] in {"pod", "workload", "service"}
	count(parts) == 3
	parts[0] == objects[fold.action]
	regex.match(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`, parts[1])
	object_name(parts[2])
}

# spared: no object of what the cluster and we run in is changed, whatever the limits say.
never := {"kube-node-lease", "kube-public", "kube-system", "loomidi-system"}

reason["namespace_spared"] := sprintf("%v on %v", [fold.kind, fold.target])

holds contains "namespace_spared" if {
	fold.kind == "RECONFIGURE_NETWORK"
	fold.action in {"rate", "drop", "tune"}
}

holds contains "namespace_spared" if {
	count(parts) > 1
	not parts[1] in never
}

# final: what has no way back is done to what the finding is about.
reason["final_named"] := sprintf("%v on %v", [fold.action, fold.target])

holds contains "final_named" if {
	is_string(fold.action) # before the negation
	not fold.action in final
}

holds contains "final_named" if fold.target in input.plan.finding.entities

# sized: a rate lets something through, scaling adds a bounded number, the others take no number.
reason["sized"] := sprintf("rate %v, burst %v, replicas %v", [fold.rate_pps, fold.burst, fold.replicas])

holds contains "sized" if {
	fold.action == "rate"
	at_most(1, fold.rate_pps)
	at_most(0, fold.burst)
}

holds contains "sized" if {
	fold.action == "scale"
	at_most(1, fold.replicas)
	at_most(fold.replicas, limits.max_replicas)
}

# thresholds: each a whole number within its limits, by a name that is known
beyond contains name if {
	some name, value in fold.thresholds
	not within(name, value)
}

within(name, value) if {
	is_number(value)
	value == floor(value)
	at_most(limits.thresholds[name][0], value)
	at_most(value, limits.thresholds[name][1])
}

holds contains "sized" if {
	fold.action == "tune"
	count(fold.thresholds) > 1
	is_number(fold.thresholds.window_ms)
	count(beyond) == 0
}

holds contains "sized" if fold.action in {"drop", "isolate"}

holds contains "sized" if objects[fold.action]

# ttl: every act ends by itself.
reason["ttl_bounded"] := sprintf("ttl %v s, allowed %v to %v s", [fold.ttl_s, limits.min_ttl_s, limits.max_ttl_s])

holds contains "ttl_bounded" if {
	at_most(limits.min_ttl_s, fold.ttl_s)
	at_most(fold.ttl_s, limits.max_ttl_s)
}

# undo: what cannot be taken back is not done.
reason["undo_stated"] := sprintf("undo %v", [fold.undo])

holds contains "undo_stated" if named(fold.undo)

# because: a fold rests on the finding it is planned with.
reason["because_finding"] := sprintf("because %v, finding %v", [fold.because, input.plan.finding.id])

holds contains "because_finding" if {
	fold.because == input.plan.finding.id
	count(input.plan.finding.evidence) > 0
}

# protected: nothing in the protected set is touched.
reason["protected_untouched"] := sprintf("touches of the protected set: %v", [radius.protected])

holds contains "protected_untouched" if count(radius.protected) == 0

# peers: what cuts meets few hosts.
reason["peers_capped"] := sprintf("%v touches %v peers, most is %v", [fold.action, radius.peers, limits.max_peers])

holds contains "peers_capped" if at_most(radius.peers, limits.max_peers)

holds contains "peers_capped" if {
	is_number(radius.peers)
	fold.action in gentle
}

# share: to cut a large share of all octets takes one named source and high confidence.
reason["share_capped"] := sprintf("cuts %v of all octets, most is %v", [radius.share_of_octets, limits.max_share])

holds contains "share_capped" if at_most(radius.share_of_octets, limits.max_share)

holds contains "share_capped" if {
	is_number(radius.share_of_octets)
	fold.action in gentle
}

holds contains "share_capped" if {
	is_number(radius.share_of_octets)
	fold.target in input.plan.finding.entities
	is_string(fold.match.source) # before the negation: one of an undefined value would hold in some engines
	not contains(fold.match.source, "/")
	at_most(limits.sure, input.plan.finding.confidence)
	at_most(input.plan.finding.confidence, 1)
}

# caps: so many acts at once on one target, and in total.
reason["target_capped"] := sprintf("%v acts on the target, most is %v", [
	input.facts.active.target,
	limits.max_active_per_target,
])

holds contains "target_capped" if below(input.facts.active.target, limits.max_active_per_target)

reason["total_capped"] := sprintf("%v acts in total, most is %v", [input.facts.active.total, limits.max_active])

holds contains "total_capped" if below(input.facts.active.total, limits.max_active)
