"""The description of the interface, as it is served.

Called by `serving`. `docs/api/transformer_control_api.yaml` is the same as the file beside this one, by a test.
"""

from pathlib import Path

from loomidi.services.http.descriptions import Description

_OURS = Description(Path(__file__).with_name("transformer_control_api.yaml"))
text, document = _OURS.text, _OURS.document
as_json, as_yaml = _OURS.as_json, _OURS.as_yaml
