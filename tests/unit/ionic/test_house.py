"""The house as others see it: few names, and deciding that cannot reach acting."""

import subprocess
import sys

import loomidi.ionic.act as act
import loomidi.ionic.decide as decide


def test_deciding_does_not_load_acting_nor_the_engine_of_the_policy() -> None:
    code = "import sys, loomidi.ionic.decide; print([m for m in sys.modules if 'ionic.act' in m or m == 'regopy'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_public_names_are_these() -> None:
    assert decide.__all__ == [
        "BASE_RULES", "FINAL", "GUARDS", "Decider", "DeciderSettings", "FloorGuard", "GuardrailRule", "Limits",
        "ManifestGuard", "PlanRefused", "RegoGuard", "Signer", "load_library", "person_asked", "process_signer",
        "propose", "standard_guards",
    ]  # fmt: skip
    assert act.__all__ == [
        "FAULTS", "FILE_NAME", "Acted", "BehindFence", "ChainCheck", "DryRunDriver", "Engine", "Fence", "Lease",
        "MemoryReceipts", "ShieldDriver", "SqliteReceipts", "ThresholdDriver",
    ]  # fmt: skip
