"""`python -m sdf_format.training.export_onnx`: the ONNX graph of an embedded network, without its weights (§4.3).

The graph's tensors are external data: places in the safetensors file that lies beside it. So the weights are in the
package once, and every engine that reads ONNX reads the same ones. Tensors in bfloat16 are widened by a Cast, which an
engine folds when it loads the graph.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sdf_format import __version__

WEIGHTS = Path(__file__).parent.parent / "weights"
OPSET = 17  # the first with everything that is needed; newer ones shut out older engines and bring nothing
DTYPES = {"F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16}


@dataclass(frozen=True)
class Network:
    """What a network is made of; widths are those of its tensors.

    layers       in order, each a kind and the name of its tensors: `conv` (3x3), `block` (residual, told the noise
                 level), `down` and `up` (2x2, stride 2; `up` adds what `keep` kept last), `keep`, `norm`; a kind is a
                 method of Builder
    sigma        noise levels that the network was trained on; its embedding stays inside them
    frequencies  sines, and as many cosines, of the level's embedding
    pitch        angle of the first one at a log level of 1
    """

    name: str
    layers: tuple[tuple[str, str], ...]
    sigma: tuple[float, float] = (0.03, 20.0)
    frequencies: int = 32
    pitch: float = math.pi / 12


NETWORKS = {
    net.name: net
    for net in (
        Network(
            "sdf-tiny-1",
            (
                ("conv", "enter"),
                ("block", "before.0"),
                ("block", "before.1"),
                ("keep", ""),
                ("down", "down"),
                ("block", "middle.0"),
                ("block", "middle.1"),
                ("block", "middle.2"),
                ("block", "middle.3"),
                ("up", "up"),
                ("block", "after.0"),
                ("block", "after.1"),
                ("block", "after.2"),
                ("norm", ""),
                ("conv", "leave"),
            ),
        ),
    )
}


def wide_name(weights: Path) -> str:
    """What the file of widened tensors is called in a graph."""
    return f"{weights.stem}.f32"


class Builder:
    """Nodes and tensors of a graph under construction; a value is known by its name.

    weights  safetensors file whose tensors the graph points at
    wide     point at a file of the same tensors in float32, one behind the other in their order, which a decoder makes:
             for engines that know no bfloat16
    """

    def __init__(self, weights: Path, wide: bool = False):
        self.wide = wide
        self.location = wide_name(weights) if wide else weights.name
        with weights.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            self.tensors: dict[str, Any] = json.loads(stream.read(length))
        self.tensors.pop("__metadata__", None)
        self.start = 8 + length
        place = 0
        for entry in sorted(self.tensors.values(), key=lambda entry: entry["data_offsets"]):
            entry["wide"] = (place, place := place + 4 * math.prod(entry["shape"]))
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.kept: list[str] = []
        self.level = ""

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The output of a new node."""
        result = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [result], **attributes))
        return result

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        """A small tensor inside the graph; equal ones are one."""
        array: np.ndarray = np.asarray(values, dtype)
        name = f"{array.dtype}{list(array.shape)}:{array.tobytes().hex()[:64]}"
        self.initializers.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def tensor(self, name: str) -> str:
        """A tensor of the weights file, in float32."""
        widened = f"{name}.wide"
        if name in self.initializers:
            return name if self.initializers[name].data_type == TensorProto.FLOAT else widened
        entry = self.tensors[name]
        narrow = entry["dtype"] != "F32" and not self.wide
        first, last = entry["wide"] if self.wide else (self.start + place for place in entry["data_offsets"])
        kind = DTYPES[entry["dtype"]] if narrow else TensorProto.FLOAT
        proto = TensorProto(name=name, dims=entry["shape"], data_type=kind, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self.location), ("offset", first), ("length", last - first)):
            proto.external_data.add(key=key, value=str(value))
        self.initializers[name] = proto
        if not narrow:
            return name
        self.nodes.append(helper.make_node("Cast", [name], [widened], to=TensorProto.FLOAT))
        return widened

    def silu(self, x: str) -> str:
        return self.add("Mul", x, self.add("Sigmoid", x))

    def linear(self, x: str, name: str) -> str:
        return self.add("Gemm", x, self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"), transB=1)

    def embed(self, net: Network, sigma: str) -> None:
        """The embedding of the noise level, (1, embedding)."""
        level = self.add("Log", self.add("Clip", sigma, self.constant(net.sigma[0]), self.constant(net.sigma[1])))
        angles = self.add(
            "Mul",
            self.add("Reshape", level, self.constant([1, 1], np.int64)),
            self.constant([net.pitch * (k + 1) for k in range(net.frequencies)]),
        )
        waves = self.add("Concat", self.add("Sin", angles), self.add("Cos", angles), axis=1)
        self.level = self.silu(self.linear(self.silu(self.linear(waves, "level.0")), "level.2"))

    def conv(self, x: str, name: str) -> str:
        side = self.tensors[f"{name}.weight"]["shape"][-1] // 2
        return self.add("Conv", x, self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"), pads=[side] * 4)

    def norm(self, x: str, _: str = "") -> str:
        """Unit mean square over the channels of each position."""
        square = self.add("ReduceMean", self.add("Mul", x, x), axes=[1])
        return self.add("Div", x, self.add("Sqrt", self.add("Add", square, self.constant(1e-5))))

    def block(self, x: str, name: str) -> str:
        film = self.add("Reshape", self.linear(self.level, f"{name}.film"), self.constant([1, -1, 1, 1], np.int64))
        scale, shift = (f"{name}.{part}" for part in ("scale", "shift"))
        self.nodes.append(helper.make_node("Split", [film], [scale, shift], axis=1))
        h = self.add("Add", self.add("Mul", self.norm(x), self.add("Add", scale, self.constant(1))), shift)
        return self.add("Add", x, self.conv(self.silu(self.conv(self.silu(h), f"{name}.first")), f"{name}.second"))

    def keep(self, x: str, _: str = "") -> str:
        self.kept.append(x)
        return x

    def down(self, x: str, name: str) -> str:
        return self.add("Conv", x, self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"), strides=[2, 2])

    def up(self, x: str, name: str) -> str:
        wide = self.add("ConvTranspose", x, self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"), strides=[2, 2])
        return self.add("Add", wide, self.kept.pop())

    def each_channel(self, name: str) -> str:
        """A tensor of one number a channel, as (C, 1, 1)."""
        return self.add("Reshape", self.tensor(name), self.constant([-1, 1, 1], np.int64))


def graph(net: Network, weights: Path, wide: bool = False) -> onnx.ModelProto:
    """The posterior mean as a graph whose tensors are in `weights` (§4.3, §7).

    Inputs: `y` (1, C, h, w) float32, h and w even, and `sigma` (1,) float32, above 0; output: `clean`, of the shape of
    y, float32.
    wide  see Builder

    KeyError if a tensor that the network names is not in the file.
    """
    b = Builder(weights, wide)
    b.embed(net, "sigma")
    v = b.each_channel("variance")
    root = b.add("Sqrt", v)
    total = b.add("Add", v, b.add("Mul", "sigma", "sigma"))
    x = b.add("Mul", "y", b.add("Div", root, total))
    for kind, name in net.layers:
        x = getattr(b, kind)(x, name)
    # y * v / total + f * sqrt(v) * sigma / sqrt(total): the factors are small, the picture is gone through twice.
    filtered = b.add("Mul", "y", b.add("Div", v, total))
    corrected = b.add("Mul", x, b.add("Mul", "sigma", b.add("Div", root, b.add("Sqrt", total))))
    b.nodes.append(helper.make_node("Add", [filtered, corrected], ["clean"]))
    shape = [1, b.tensors["variance"]["shape"][0], "height", "width"]
    body = helper.make_graph(
        b.nodes,
        net.name,
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("sigma", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("clean", TensorProto.FLOAT, shape)],
        list(b.initializers.values()),
    )
    return helper.make_model(
        body,
        producer_name="sdf_format",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )


def main(arguments: list[str] | None = None) -> None:
    """Write the graph of a network beside its weights."""
    parser = argparse.ArgumentParser(
        prog="python -m sdf_format.training.export_onnx",
        description="Write the ONNX graph of an embedded network beside its weights.",
    )
    parser.add_argument("--model", choices=sorted(NETWORKS), default="sdf-tiny-1")
    parser.add_argument("--weights", type=Path, help="safetensors file (default: the package's own)")
    wanted = parser.parse_args(arguments)
    weights = wanted.weights or WEIGHTS / f"{wanted.model}.safetensors"
    for path, wide in ((weights.with_suffix(".onnx"), False), (weights.with_suffix(".f32.onnx"), True)):
        data = graph(NETWORKS[wanted.model], weights, wide).SerializeToString(deterministic=True)
        path.write_bytes(data)
        print(f"{path}: {len(data)} bytes, pointing into {wide_name(weights) if wide else weights.name}")


if __name__ == "__main__":
    main()
