"""What gets into Flink's environment, and what is said when it is not there."""

from pathlib import Path

import pytest

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi.loom.runners.flink import FlinkSettings, submit
from loomidi.loom.windows import WindowSettings, WindowSpec

SOME = FlinkSettings(
    WindowSettings(specs=(WindowSpec(10, 10),), grain="workload"),
    bootstrap="127.0.0.1:9092",
    properties=(("security.protocol", "SSL"),),
    epoch=5,
)


def test_settings_arrive_as_they_were() -> None:
    assert FlinkSettings.from_json(SOME.to_json()) == SOME


def test_topics_are_named_as_the_bus_names_them() -> None:
    assert SOME.topic("flows") == "loomidi.flows"


def test_a_job_without_a_source_is_refused() -> None:
    with pytest.raises(UsageError, match="name Kafka brokers, or a source folder"):
        FlinkSettings()


def test_without_its_environment_it_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks, match="run: make flink-tools"):
        submit(FlinkSettings(bootstrap="127.0.0.1:9092", tools=str(tmp_path)))
