"""The ONNX graph of the embedded network (§4.3.1): made again byte for byte, without weights, equal to PyTorch's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra training")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from sdf_format.models.tiny_net import TinyNet  # noqa: E402
from sdf_format.training.export_onnx import NETWORKS, WEIGHTS, graph, main  # noqa: E402

GRAPH = WEIGHTS / "sdf-tiny-1.onnx"
TENSORS = WEIGHTS / "sdf-tiny-1.safetensors"


def session(path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def test_the_graph_is_made_again_byte_for_byte():
    made = graph(NETWORKS["sdf-tiny-1"], TENSORS).SerializeToString(deterministic=True)
    assert made == GRAPH.read_bytes(), "python -m sdf_format.training.export_onnx"
    wide = graph(NETWORKS["sdf-tiny-1"], TENSORS, wide=True).SerializeToString(deterministic=True)
    assert wide == GRAPH.with_suffix(".f32.onnx").read_bytes(), "python -m sdf_format.training.export_onnx"


def test_the_graph_of_widened_tensors_gives_the_same(tmp_path):
    """For engines without bfloat16: a decoder writes the tensors in float32, in the order of the file."""
    weights = load_file(TENSORS)
    with TENSORS.open("rb") as stream:
        places = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    order = sorted(weights, key=lambda name: places[name]["data_offsets"])
    (tmp_path / "sdf-tiny-1.f32").write_bytes(b"".join(weights[name].float().numpy().tobytes() for name in order))
    wide = tmp_path / "sdf-tiny-1.f32.onnx"
    wide.write_bytes(GRAPH.with_suffix(".f32.onnx").read_bytes())
    y = torch.randn(1, 192, 4, 6, generator=torch.Generator().manual_seed(1)).numpy()
    feeds = {"y": y, "sigma": np.float32([0.6])}
    assert np.abs(session(wide).run(None, feeds)[0] - session(GRAPH).run(None, feeds)[0]).max() < 1e-5


def test_all_tensors_lie_in_the_weights_file():
    model = onnx.load(GRAPH, load_external_data=False)
    onnx.checker.check_model(str(GRAPH))
    weights = load_file(TENSORS)
    outside = {tensor.name: tensor for tensor in model.graph.initializer if tensor.external_data}
    assert outside.keys() == weights.keys() - {"weight"}, "all but what the inverse transform needs (§4.3)"
    data = TENSORS.read_bytes()
    for name, tensor in outside.items():
        place = {entry.key: entry.value for entry in tensor.external_data}
        assert place["location"] == TENSORS.name
        found = data[int(place["offset"]) :][: int(place["length"])]
        assert found == weights[name].view(torch.uint8).numpy().tobytes(), name
    assert GRAPH.stat().st_size < 32768


@pytest.mark.clause("4.3.1")
@pytest.mark.parametrize(("height", "width"), [(2, 2), (4, 6), (16, 10), (30, 2)])
def test_outputs_are_those_of_pytorch(height, width):
    net = TinyNet()
    net.load_state_dict({name: tensor.float() for name, tensor in load_file(TENSORS).items()})
    run = session(GRAPH)
    generator = torch.Generator().manual_seed(height)
    for sigma in (100.0, 20.0, 3.0, 1.0, 0.2, 0.03, 0.004):
        y = torch.randn(1, 192, height, width, generator=generator) * (1 + sigma**2) ** 0.5
        with torch.inference_mode():
            wanted = net(y, torch.full((1, 1, 1, 1), sigma)).numpy()
        found = run.run(None, {"y": y.numpy(), "sigma": np.float32([sigma])})[0]
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-4, sigma


def test_another_network_is_exported_beside_its_weights(tmp_path):
    """A file of random weights with other widths: nothing of the graph is fixed but the layers."""
    from safetensors.torch import save_file

    net = TinyNet(outer=8, inner=12, embedding=64)
    state = {name: torch.randn_like(tensor) * 0.1 for name, tensor in net.state_dict().items()}
    state |= {name: state[name].abs() + 0.5 for name in ("variance", "weight")}
    net.load_state_dict(state)
    save_file(state, tmp_path / "other.safetensors")
    main(["--weights", str(tmp_path / "other.safetensors")])
    y = torch.randn(1, 192, 4, 2)
    with torch.inference_mode():
        wanted = net(y, torch.full((1, 1, 1, 1), 0.7)).numpy()
    found = session(tmp_path / "other.onnx").run(None, {"y": y.numpy(), "sigma": np.float32([0.7])})[0]
    assert np.abs(found - wanted).max() < 1e-4
