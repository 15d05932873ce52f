"""The description of the interface, as it is served: OpenAPI 3.

Called by `serving`. Out: YAML as it lies beside this file (`docs/api/security_policy_api.yaml` is the same, by a test),
and the same as JSON.
"""

import functools
import json
from pathlib import Path
from typing import Any

import yaml

from loomidi.services.http.problems import Answer
from loomidi.services.http.routing import Call

PATH = Path(__file__).with_name("security_policy_api.yaml")


@functools.cache
def text() -> str:
    """As YAML."""
    return PATH.read_text(encoding="utf-8")


@functools.cache
def document() -> Any:
    """As data."""
    return yaml.safe_load(text())


async def as_json(_call: Call) -> Answer:
    """GET /openapi.json."""
    return Answer(200, json.dumps(document()).encode())


async def as_yaml(_call: Call) -> Answer:
    """GET /openapi.yaml."""
    return Answer(200, text().encode(), "application/yaml")
