"""Multiply-adds against nets counted by hand, and the turn-by-turn clock."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: make install-train")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from models.training import cost, export, quantize  # noqa: E402
from models.training.nets.gate import GateNet  # noqa: E402

pytestmark = pytest.mark.train


def saved(path, nodes, inputs, outputs, weights):
    def values(shapes):
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]

    constants = [
        numpy_helper.from_array(np.random.default_rng(0).standard_normal(s).astype(np.float32), n)
        for n, s in weights.items()
    ]
    graph = helper.make_graph(nodes, "net", values(inputs), values(outputs), constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_a_small_net_is_counted_as_by_hand(tmp_path):
    nodes = [
        # 4 -> 6 channels in 2 groups, 3 x 3, stride 2 over 9 x 7 without padding: 6 x 4 x 3 outputs of 2 x 9.
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[2, 2], group=2),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        # 72 -> 5.
        helper.make_node("Gemm", ["c", "g"], ["d"], transB=1),
        # 5 -> 3.
        helper.make_node("MatMul", ["d", "m"], ["y"]),
    ]
    path = saved(
        tmp_path / "net.onnx",
        nodes,
        {"x": [1, 4, 9, 7]},
        {"y": [1, 3]},
        {"w": [6, 2, 3, 3], "g": [5, 72], "m": [5, 3]},
    )
    assert cost.multiply_adds(path) == 6 * 4 * 3 * 2 * 9 + 72 * 5 + 5 * 3


def test_a_quantized_net_costs_as_many_as_its_float_form(tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    path = saved(tmp_path / "n.onnx", nodes, {"x": [1, 2, 8, 8]}, {"y": [1, 3, 6, 6]}, {"w": [3, 2, 3, 3]})
    feeds = [
        {"x": np.random.default_rng(k).standard_normal((1, 2, 8, 8)).astype(np.float32)} for k in range(3)
    ]
    quantize.static_int8(path, tmp_path / "static.onnx", feeds)
    quantize.dynamic_int8(path, tmp_path / "dynamic.onnx", ["Conv"])
    operators = {node.op_type for node in onnx.load(str(tmp_path / "dynamic.onnx")).graph.node}
    assert "ConvInteger" in operators
    counts = [cost.multiply_adds(tmp_path / name) for name in ("n.onnx", "static.onnx", "dynamic.onnx")]
    assert counts == [3 * 36 * 18] * 3


def test_a_shape_that_is_not_fixed_is_named(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = saved(tmp_path / "net.onnx", nodes, {"x": ["batch", 4]}, {"y": ["batch", 2]}, {"w": [4, 2]})
    with pytest.raises(ValueError, match="shape of 'x' is not known"):
        cost.multiply_adds(path)


def test_the_gates_hop_is_counted_as_by_hand(tmp_path):
    export.export_gate(GateNet((4, 6, 8, 10), 12), tmp_path / "gate.onnx")
    front = (
        4 * 6 * 32 * (1 * 4 * 5)  # 14 frames, kernel 4 x 5, stride 2 x 2
        + 6 * 3 * 16 * (4 * 2 * 3)
        + 8 * 3 * 8 * (6 * 3)
        + 10 * 3 * 4 * (8 * 3)
        + 12 * 3 * (10 * 4)
    )
    memory = 4 * 12 * 3 * (12 * 3)
    assert cost.multiply_adds(tmp_path / "gate.onnx") == front + memory + 3 * 12


def test_runs_take_turns_and_each_pays_for_itself():
    now, order = [0.0], []

    def run(name, seconds):
        def work():
            order.append(name)
            now[0] += seconds

        return work

    taken = cost.interleaved({"a": run("a", 1.0), "b": run("b", 3.0)}, 4, clock=lambda: now[0])
    assert {name: times.tolist() for name, times in taken.items()} == {
        "a": [[1.0] * 2] * 4,
        "b": [[3.0] * 2] * 4,
    }
    rounds = [order[k : k + 6] for k in range(0, len(order), 6)]
    assert len(rounds) == 6
    assert all(sorted(each) == ["a"] * 3 + ["b"] * 3 for each in rounds)
    assert len({each[0] for each in rounds}) == 2, "each round in another order"


def test_cost_is_of_a_second_of_audio():
    rows = cost.costs(
        [cost.Candidate("a", 0.25, lambda: None, 1000), cost.Candidate("b", 2.0, lambda: None, None)], 3
    )
    assert [row.multiply_adds for row in rows] == [4000.0, None]
    assert "| a | 0.25 s | 0.00 M | 1.0 |" in cost.markdown(rows)
