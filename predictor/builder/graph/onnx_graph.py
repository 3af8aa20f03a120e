"""A tiny writer of ONNX graphs: nodes, constants, tensors of an external weight file.

Knows ONNX and nothing of decoders; the blocks are in :mod:`predictor.builder.graph.ops`. Needs no ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from predictor.builder.weights.file_layout import WeightTensor


@dataclass(frozen=True, slots=True)
class OnnxVersion:
    """Which ONNX a graph is written in."""

    opset: int
    """Of the default domain."""
    ir_version: int


ONNX_RUNTIME = OnnxVersion(opset=21, ir_version=10)
"""Read by ONNX Runtime 1.23 (Python 3.10's last) and later."""
TENSORRT = OnnxVersion(opset=17, ir_version=8)
"""The newest that TensorRT 8.6 parses."""

MICROSOFT = "com.microsoft"

Dim = int | str
Attribute = int | float | Sequence[int]
_ELEMENT = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
}


class GraphBuilder:
    """Collects one graph. Values are known by their names."""

    def __init__(
        self, name: str, *, weights_file: str = "", onnx_version: OnnxVersion = ONNX_RUNTIME
    ) -> None:
        """Start an empty graph.

        Args:
            name: of the graph.
            weights_file: beside the graph's own file, what :meth:`stored` tensors lie in.
            onnx_version: of its operators.
        """
        self._name = name
        self._weights_file = weights_file
        self._dialect = onnx_version
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._domains = {""}

    def input(self, name: str, dtype: str, shape: Sequence[Dim]) -> str:
        """Declare a graph input."""
        self._inputs.append(helper.make_tensor_value_info(name, _ELEMENT[dtype], list(shape)))
        return name

    def output(self, name: str, dtype: str, shape: Sequence[Dim]) -> None:
        """Declare a value that some node writes as a graph output."""
        self._outputs.append(helper.make_tensor_value_info(name, _ELEMENT[dtype], list(shape)))

    def node(
        self, op: str, inputs: Sequence[str], output: str, *, domain: str = "", **attributes: Attribute
    ) -> str:
        """Add a node with one output, and return its name."""
        return self.nodes(op, inputs, [output], domain=domain, **attributes)[0]

    def nodes(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        domain: str = "",
        **attributes: Attribute,
    ) -> tuple[str, ...]:
        """Add a node, and return the names of its outputs; an empty name is an optional one left out."""
        self._domains.add(domain)
        name = next(output for output in outputs if output)
        node = helper.make_node(op, list(inputs), list(outputs), name=name, domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self._nodes.append(node)
        return tuple(outputs)

    def cast(self, value: str, dtype: str, output: str) -> str:
        """Convert a value to another type."""
        return self.node("Cast", [value], output, to=_ELEMENT[dtype])

    def constant(self, values: npt.NDArray[Any]) -> str:
        """A small tensor kept in the graph itself; equal ones are kept once. 0-d arrays stay 0-d."""
        key = (str(values.dtype), values.shape, values.tobytes())
        if key not in self._constants:
            name = f"constant.{len(self._constants)}"
            self._constants[key] = name
            self._initializers[name] = numpy_helper.from_array(values, name)
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """Constant int64 [len(values)]."""
        return self.constant(np.array(values, np.int64))

    def stored(self, tensor: WeightTensor) -> str:
        """Refer to a tensor of the weight file."""
        if tensor.name not in self._initializers:
            proto = TensorProto(
                name=tensor.name, data_type=_ELEMENT[tensor.dtype], data_location=TensorProto.EXTERNAL
            )
            proto.dims.extend(tensor.shape)
            where = {"location": self._weights_file, "offset": tensor.offset, "length": tensor.nbytes}
            for key, value in where.items():
                proto.external_data.add(key=key, value=str(value))
            self._initializers[tensor.name] = proto
        return tensor.name

    def model(self) -> onnx.ModelProto:
        """The finished model."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, list(self._initializers.values())
        )
        versions = dict.fromkeys(self._domains, 1) | {"": self._dialect.opset}
        opsets = [helper.make_opsetid(domain, number) for domain, number in sorted(versions.items())]
        return helper.make_model(
            graph, producer_name="yiwen", opset_imports=opsets, ir_version=self._dialect.ir_version
        )

    def serialized(self) -> bytes:
        """The finished model's bytes: the same graph gives the same bytes."""
        serialized: bytes = self.model().SerializeToString(deterministic=True)
        return serialized
