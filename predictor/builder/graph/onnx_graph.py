"""A small writer of ONNX graphs: nodes, constants, and tensors in an external weight file.

The operators of a decoder are in :mod:`predictor.builder.graph.ops`. ONNX Runtime is not needed.
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
    """The version of ONNX that a graph is written in."""

    opset: int
    """Of the default domain."""
    ir_version: int


ONNX_RUNTIME = OnnxVersion(opset=21, ir_version=10)
"""Read by ONNX Runtime 1.23 (Python 3.10's last) and later."""
TENSORRT = OnnxVersion(opset=17, ir_version=8)
"""The newest that TensorRT 8.6 parses."""

MICROSOFT = "com.microsoft"

Dim = int | str
Attribute = int | float | str | Sequence[int]
_ELEMENT = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
}


class GraphBuilder:
    """Collects the nodes and tensors of one graph. Values are referred to by name."""

    def __init__(
        self, name: str, *, weights_file: str = "", onnx_version: OnnxVersion = ONNX_RUNTIME
    ) -> None:
        """Start an empty graph.

        Args:
            name: of the graph.
            weights_file: name of the file, beside the graph's, that holds the :meth:`stored` tensors.
            onnx_version: to write.
        """
        self._name = name
        self._weights_file = weights_file
        self._onnx_version = onnx_version
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._domains = {""}

    def input(self, name: str, dtype: str, shape: Sequence[Dim]) -> str:
        """Declare a graph input, and return its name.

        Args:
            name: of the value.
            dtype: numpy's name.
            shape: sizes, or names of dynamic dimensions.
        """
        self._inputs.append(helper.make_tensor_value_info(name, _ELEMENT[dtype], list(shape)))
        return name

    def output(self, name: str, dtype: str, shape: Sequence[Dim]) -> None:
        """Declare the result of a node as a graph output.

        Args:
            name: of the value.
            dtype: numpy's name.
            shape: sizes, or names of dynamic dimensions.
        """
        self._outputs.append(helper.make_tensor_value_info(name, _ELEMENT[dtype], list(shape)))

    def node(
        self, op: str, inputs: Sequence[str], output: str, *, domain: str = "", **attributes: Attribute
    ) -> str:
        """Add a node with one output, and return the output's name.

        Args:
            op: type of the operator.
            inputs: names of values; an empty one omits an optional input.
            output: name of the result.
            domain: of the operator.
            attributes: of the operator.
        """
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
        """Add a node, and return the names of its outputs.

        Args:
            op: type of the operator.
            inputs: names of values; an empty one omits an optional input.
            outputs: names of the results; an empty one omits an optional output.
            domain: of the operator.
            attributes: of the operator.
        """
        self._domains.add(domain)
        name = next(output for output in outputs if output)
        node = helper.make_node(op, list(inputs), list(outputs), name=name, domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self._nodes.append(node)
        return tuple(outputs)

    def cast(self, value: str, dtype: str, output: str) -> str:
        """Convert a value to another type, and return the result's name.

        Args:
            value: name of the value.
            dtype: numpy's name of the new type.
            output: name of the result.
        """
        return self.node("Cast", [value], output, to=_ELEMENT[dtype])

    def constant(self, values: npt.NDArray[Any]) -> str:
        """Store a small tensor in the graph itself, equal ones once, and return its name."""
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
        """Refer to a tensor of the weight file, and return its name."""
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
        versions = dict.fromkeys(self._domains, 1) | {"": self._onnx_version.opset}
        opsets = [helper.make_opsetid(domain, number) for domain, number in sorted(versions.items())]
        return helper.make_model(
            graph, producer_name="yiwen", opset_imports=opsets, ir_version=self._onnx_version.ir_version
        )

    def serialized(self) -> bytes:
        """The finished model's bytes: the same graph gives the same bytes."""
        serialized: bytes = self.model().SerializeToString(deterministic=True)
        return serialized
