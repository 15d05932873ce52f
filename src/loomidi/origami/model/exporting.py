"""From a trained network to one ONNX file that says of itself what it is.

Called by `training`. In: modules of `steps`, a card, a calibration. Out: bytes of ONNX; sizes of ticks are left open.
"""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import onnx
import torch
from torch import nn
from torch.export import Dim

from loomidi.origami.model.steps import ROWS

_SIZES = {"edges": 7, "ends": 5, "told": 3}  # of the example that the exporter follows; not 0 or 1, which it would fix


def exported(module: nn.Module, shapes: Mapping[str, tuple[int, ...]], outputs: tuple[str, ...]) -> bytes:
    """The module as ONNX. `shapes`: by input what follows the first dimension, which is open."""
    dims = {name: Dim(name, min=1, max=1 << 24) for name in _SIZES}
    example = {name: _example(name, shape) for name, shape in shapes.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        noise = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            program = torch.onnx.export(
                module,
                (),
                kwargs=example,
                input_names=list(shapes),
                output_names=list(outputs),
                dynamic_shapes={name: {0: dims[ROWS.get(name, "ends")]} for name in shapes},
                dynamo=True,
                verbose=False,
            )
        finally:
            logging.disable(noise)
    data: bytes = program.model_proto.SerializeToString()
    return data


def described(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """With these metadata instead of the exporter's, whose text names folders of the machine that trained."""
    model = onnx.load_model_from_string(data)
    model.doc_string, model.producer_name = "", "loomidi"
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    written: bytes = model.SerializeToString()
    return written


def _example(name: str, shape: tuple[int, ...]) -> Any:
    size = _SIZES[ROWS.get(name, "ends")]
    if name in ("source", "destination", "own", "other"):
        return torch.zeros(size, dtype=torch.int64)
    return torch.rand(size, *shape)
