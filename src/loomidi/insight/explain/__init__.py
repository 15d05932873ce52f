"""Explaining one finding: evidence, rule, ATT&CK technique, decision, what was done, how it is undone.

Called by `services.analyzing`, `services.fastlane`, `loomidi demo` and the renderers of `insight.report`. In: frozen
records. Out: sentences. Every figure in them comes from the records; nothing is guessed.
"""

from loomidi.insight.explain.comparisons import comparison_told
from loomidi.insight.explain.phrasing import Phrase, patterns, phrase, technique
from loomidi.insight.explain.replays import replay_told
from loomidi.insight.explain.telling import Part, explain, tell

__all__ = ["Part", "Phrase", "comparison_told", "explain", "patterns", "phrase", "replay_told", "technique", "tell"]
