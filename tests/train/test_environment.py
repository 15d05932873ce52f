"""The environment that trains models holds what its lock names."""

import importlib.metadata
import re
from pathlib import Path

import pytest

LOCK = Path(__file__).resolve().parents[2] / "requirements-train.lock"


@pytest.mark.parametrize(
    "name", ["torch", "torch-geometric", "onnx", "onnxruntime", "mlflow", "river", "ray", "gymnasium", "sb3-contrib"]
)
def test_version_is_that_of_the_lock(name: str) -> None:
    locked = re.search(rf"^{re.escape(name)}==([^ ;\\]+)", LOCK.read_text(), re.MULTILINE)
    assert locked
    assert importlib.metadata.version(name).split("+")[0] == locked[1]
