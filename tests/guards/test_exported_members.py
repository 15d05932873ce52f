"""The public face of the package and of each house, pinned: a name is added or taken away on purpose."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FACES = {
    "loomidi": "__version__ analyze meter",
    "loomidi.contracts": (
        "Approval BlastRadius Conflict Conversation Edge Entity EnvironmentLacks Evidence Extension Finding FoldKind "
        "FoldSpec InputError LoomidiError Match Mode Outcome Plan Receipt Refused Replay Retryable Severity Step "
        "UsageError Verdict content_id"
    ),
    "loomidi.fold.operator": (
        "ASKERS Approvers Carrier FAULTS Fence Leadership LeaseSettings NotLeading Operator OwnKeys Pen People "
        "Reconciler RunSettings SharedKey SweepSettings World approval_note heard signed_note statement unkept"
    ),
    "loomidi.fold.resources": (
        "GROUP JUDGED MEANING NEXT OPEN Phase TERMINAL TOUCHING VERSION fold_definition fold_object "
        "fold_policy_definition plan_of"
    ),
    "loomidi.garden.graph": "EntityGraph GraphSettings Touched host_id protocol_name service_id",
    "loomidi.insight.explain": "Part Phrase comparison_told explain patterns phrase replay_told technique tell",
    "loomidi.insight.learn": (
        "Drift DriftSettings HOLD_OUT Request Requests ScoreChanges Word alarm_drift feature_drift held_out keep "
        "labels_of psi"
    ),
    "loomidi.insight.report": "Balance CaptureRead FlowTotals Link ProposedFold Report SEVERITIES Series Talker",
    "loomidi.ionic.act": (
        "Acted BehindFence ChainCheck DryRunDriver Engine FAULTS FILE_NAME Fence Lease MemoryReceipts ShieldDriver "
        "SqliteReceipts ThresholdDriver"
    ),
    "loomidi.ionic.act.drivers": "BehindFence DryRunDriver ShieldDriver ThresholdDriver",
    "loomidi.ionic.act.kube": (
        "AgentSettings Agents EVERY_KIND KINDS Kind KubeApi KubeDriver KubeSettings Patience Rule"
    ),
    "loomidi.ionic.decide": (
        "BASE_RULES Decider DeciderSettings FINAL FloorGuard GUARDS GuardrailRule Limits ManifestGuard PlanRefused "
        "RegoGuard Signer load_library person_asked process_signer propose standard_guards"
    ),
    "loomidi.ionic.decide.guards": "BASE_RULES FloorGuard GuardrailRule ManifestGuard RegoGuard load_library",
    "loomidi.ionic.enforcer": "Bounds Standing Tuning Usual UsualWindows read_bounds tuned",
    "loomidi.ionic.events": (
        "About OCSF_VERSION encoded finding_event outcome_event plan_event receipt_event sighting"
    ),
    "loomidi.ionic.playbooks": (
        "Consumer FILE_NAME Hands Incident MemoryRuns Outcome Playbook Problem Report Run RunLimits Runner SqliteRuns "
        "commands_for exported finding_of incidents library load read_playbook told written"
    ),
    "loomidi.ionic.policies": (
        "Asker Deployer Engine FAULTS FILE_NAME Judge JudgeSettings KyvernoEngine Opa OpaEngine Policy PolicyType "
        "Reports Shelf Standing Status Tally Version read_policy"
    ),
    "loomidi.loom.bus": "BadBatch BusSettings Publisher PublisherSettings TendedBus open_bus",
    "loomidi.loom.capture": (
        "Limits Probe ShieldSettings TwinShield Watch attach detach open_shield probe reopen shielded"
    ),
    "loomidi.loom.lake": (
        "Committed Committer Compacted Expired Held Lake LakeAway LakeFull LakeSettings Query SnapshotSeen Swept "
        "TableSpec Taken compact expire streams sweep table_of"
    ),
    "loomidi.loom.flows": "FlowStream FlowTable MeterSettings Problem meter",
    "loomidi.loom.runners": "LocalRunner RunnerSettings WindowMachine",
    "loomidi.loom.runners.flink": "FlinkSettings Submitted submit",
    "loomidi.loom.sinks": (
        "Away FileSettings Format KafkaSettings Letter MemorySink NatsSettings Sink StdoutSettings SyslogSettings "
        "Transport Undeliverable WebhookSettings"
    ),
    "loomidi.loom.windows": (
        "Closed Closer EDGE_OPERATORS PANE_S Parts ROLE_OPERATORS ROWS SPECS Watermarks Window WindowSettings "
        "WindowSpec edge_windows entity_windows merged project reduced split"
    ),
    "loomidi.origami.causes": (
        "CALLS Cause CauseSettings Observed PLACES RANKED Role SIGNALS SPANS Sign SpanSums Symptom Window as_table rank"
    ),
    "loomidi.origami.features": (
        "CAUSAL EDGES EDGE_FEATURES EdgeFeatures FeatureSettings SHAPE SHAPED_FEATURES WindowFeatures edges_of hashes "
        "matrix"
    ),
    "loomidi.origami.forecasts": (
        "CascadeSettings Cascades Exhaustion ExhaustionSettings FORECASTS FORETOLD READINGS RestartSettings Restarts "
        "SurpriseSettings Surprises VIEWS exhaustions"
    ),
    "loomidi.origami.gym": (
        "ACTIONS Bandit Budgets Decided FAMILIES FEATURES FIRST_FOLD Figures GuardSettings GymSettings HUMAN Idle "
        "KINDS NOTHING OBSERVED PLAIN Parity Played Player SCENARIOS SIGNALS Simulator action_of calibrate candidates "
        "decide_once episodes_of measured observation parity parted play read_lines read_page slot_of traits_of"
    ),
    "loomidi.origami.policy": (
        "ARMS ASK_HUMAN Candidates Choice Chooser ChooserSettings DECISIONS DecisionLog Estimate EstimateSettings "
        "Judged LinearArms Logged METHODS MaskedAction NO_ACTION OUTCOMES Outcome candidates_of dr effective_size "
        "estimate ips joined modelled read replay snips"
    ),
    "loomidi.origami.model": "ModelSettings TrainedModel learn train",
    "loomidi.origami.scoring": (
        "Alert BoundSettings Bounds BrokenPromise Calibration CalibrationSettings Card "
        "GlanceSettings Glancing GraphModel GuardSettings Guarded HabitSettings Habits Incident IncidentSettings "
        "Incidents Judge JudgeSettings Manifest Misfit Model RollingLimit RollingSettings Shelf Tick champion "
        "discoveries lesser ticked watched"
    ),
    "loomidi.origami.train": (
        "CHALLENGER CHAMPION Compared Criterion FitSettings Gate GateSettings Known RaySeeds Registry Seeds Stream "
        "StreamSettings Trained Trial Version ablations compare document fit here judge of_lake of_path of_recording "
        "promote roll_back strangest stream_of train try_out wilson"
    ),
    "loomidi.origami.online": (
        "ClusterState Cusum CusumSettings Detector EdgeSketch FAILURES FailureSettings Failures FlowDetectors "
        "FlowSettings HalfSpaceTrees NeighbourSettings Neighbours NormSettings PATTERNS RobustNorm Rule Seen "
        "SketchSettings SuspectDetectors SuspectSettings TailSettings TailThreshold TreesSettings load_rules"
    ),
}


@pytest.mark.parametrize("house", FACES)
def test_a_house_exports_these_names_and_no_others(house: str) -> None:
    module = importlib.import_module(house)
    assert sorted(module.__all__) == FACES[house].split()
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_every_face_is_pinned() -> None:
    packages = {
        ".".join(path.parent.relative_to(ROOT / "src").parts)
        for path in (ROOT / "src" / "loomidi").rglob("__init__.py")
        if "__all__" in path.read_text()
    }
    assert packages == set(FACES)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import loomidi, sys; print(sorted({'pyarrow', 'numpy', 'rich', 'click', 'yaml'} & set(sys.modules)))"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout == "[]\n"
