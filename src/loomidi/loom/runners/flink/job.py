"""The job itself: reads like the diagram.

Run by `submitting` in Flink's environment as `python -m loomidi.loom.runners.flink.job SETTINGS`. In: a file of
settings. Out: the job, executed in a mini-cluster within this process or sent to a session cluster.

    flows -> DecodeFlows -> Reduce (parallel) ---+--> Close (one task) --+--> envelopes
                  |            `--> late rows ---)-----------------------+
                  +--> dead letters -------------)-----------------------'
    metrics -> DecodeMetrics --------------------'
"""

import os
import signal
import sys
import threading
from pathlib import Path

from pyflink.common import Configuration, Duration, WatermarkStrategy
from pyflink.datastream import CheckpointingMode, ExternalizedCheckpointRetention, StreamExecutionEnvironment

from loomidi.contracts.streams import Stream
from loomidi.loom.runners.flink.connecting import deliver, payloads
from loomidi.loom.runners.flink.functions import (
    DEAD_TAG,
    ENVELOPE,
    LATE_TAG,
    PIECE,
    TIMED,
    BatchTime,
    Close,
    DecodeFlows,
    DecodeMetrics,
    Reduce,
)
from loomidi.loom.runners.flink.settings import FlinkSettings


def configured(settings: FlinkSettings) -> StreamExecutionEnvironment:
    """Python of this environment in the workers, our package beside it, checkpoints exactly once."""
    options = Configuration()
    options.set_string("python.executable", sys.executable)
    options.set_string("python.client.executable", sys.executable)
    if settings.master:
        host, _, port = settings.master.rpartition(":")
        options.set_string("execution.target", "remote")
        options.set_string("rest.address", host)
        options.set_string("rest.port", port)
    if settings.checkpoints:
        options.set_string("execution.checkpointing.dir", settings.checkpoints)
    if settings.restore:
        options.set_string("execution.state-recovery.path", settings.restore)
    env = StreamExecutionEnvironment.get_execution_environment(options)
    env.set_parallelism(settings.parallelism)
    env.enable_checkpointing(round(settings.checkpoint_s * 1000), CheckpointingMode.EXACTLY_ONCE)
    retention = ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION
    env.get_checkpoint_config().set_externalized_checkpoint_retention(retention)
    if settings.master:
        env.add_python_file(str(Path(__file__).parents[4]))  # the folder that `submitting` made, with our package
    return env


def watermarks(settings: FlinkSettings, idle_s: float) -> WatermarkStrategy:
    """By the newest of each task. A bounded source ends by itself: until then each task waits for its own rows."""
    lateness = Duration.of_millis(round(settings.windows.lateness_s * 1000))
    strategy = WatermarkStrategy.for_bounded_out_of_orderness(lateness)
    if not settings.bounded:
        strategy = strategy.with_idleness(Duration.of_millis(max(round(idle_s * 1000), 1)))
    return strategy.with_timestamp_assigner(BatchTime())  # the last: PyFlink forgets it otherwise


def end_with_the_submitter() -> None:
    """Standard input ends when the process that submitted us is gone, also killed: then all of ours end."""
    while os.read(0, 4096):  # not through sys.stdin, whose lock a waiting thread would keep from the interpreter's end
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main(path: str) -> None:
    """Build it and run it."""
    threading.Thread(target=end_with_the_submitter, daemon=True).start()
    settings = FlinkSettings.from_json(Path(path).read_text())
    windows, env = settings.windows, configured(settings)
    flows = payloads(env, Stream.FLOWS, settings).process(DecodeFlows(Stream.FLOWS), output_type=TIMED)
    metrics = payloads(env, Stream.METRICS, settings).process(DecodeMetrics(Stream.METRICS), output_type=PIECE)
    pieces = flows.assign_timestamps_and_watermarks(watermarks(settings, windows.idle_s))
    pieces = pieces.process(Reduce(windows), output_type=PIECE)
    # Samples come seldom: between two of them they hold nothing back.
    samples = metrics.assign_timestamps_and_watermarks(watermarks(settings, idle_s=0.001))
    closed = pieces.union(samples).key_by(lambda _: 0).process(Close(windows, settings.epoch), output_type=ENVELOPE)
    closed = closed.uid("loomidi-close")  # whose state a later version of this job finds again
    aside = (pieces.get_side_output(LATE_TAG), flows.get_side_output(DEAD_TAG), metrics.get_side_output(DEAD_TAG))
    envelopes = closed.force_non_parallel().union(*aside)
    deliver(env, envelopes, settings)
    env.execute("loomidi-windows")


if __name__ == "__main__":
    main(sys.argv[1])
