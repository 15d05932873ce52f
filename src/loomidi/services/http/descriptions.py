"""The description of an interface as it is served: OpenAPI 3, as YAML like its file, and the same as JSON.

Made by the `documents` of each API, called by its routes. In: the file beside them. Out: text, data, answers.
"""

import functools
import json
from pathlib import Path
from typing import Any

import yaml

from loomidi.services.http.problems import Answer
from loomidi.services.http.routing import Call


class Description:
    """Of one interface. The file is read when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @functools.cache  # noqa: B019 - one for each API, as long as the process
    def text(self) -> str:
        """As YAML."""
        return self._path.read_text(encoding="utf-8")

    @functools.cache  # noqa: B019 - as above
    def document(self) -> Any:
        """As data."""
        return yaml.safe_load(self.text())

    async def as_json(self, _call: Call) -> Answer:
        """GET /openapi.json."""
        return Answer(200, json.dumps(self.document()).encode())

    async def as_yaml(self, _call: Call) -> Answer:
        """GET /openapi.yaml."""
        return Answer(200, self.text().encode(), "application/yaml")
