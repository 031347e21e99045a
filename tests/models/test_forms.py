"""Forms of a net: their figures against slow references, and fine-tuning under rounding."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: make install-train")

from models.training import export, forms, metrics, qat, quantize, subjects  # noqa: E402
from models.training.nets.gate import GateNet  # noqa: E402
from models.training.train import Schedule  # noqa: E402
from monitor.detect.inference import Network  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def net() -> GateNet:
    torch.manual_seed(0)
    net = GateNet((4, 8, 8, 8), 16, n_classes=3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return net.eval()


@pytest.fixture(scope="module")
def subject(net):
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (6, 120, 64)).astype(np.float16)
    label = rng.integers(0, 2, (6, 30)).astype(np.float32)
    train = rng.normal(0, 1, (8, 120, 64)).astype(np.float16)
    return subjects.gate_subject(net, train, features, label, np.ones((6, 30), np.float32))


def test_torch_onnx_and_streaming_answer_alike(net, subject, tmp_path):
    subject.export(net, tmp_path / "float.onnx")
    streamed = subject.score(Network(tmp_path / "float.onnx"))
    features = np.random.default_rng(0).normal(0, 1, (6, 120, 64)).astype(np.float16)
    with torch.no_grad():
        whole = net(torch.from_numpy(features.astype(np.float32)))[:, 0].numpy()
    assert streamed.shape == whole.shape == subject.labels.shape
    assert np.allclose(streamed, whole, atol=1e-4)


def test_every_form_is_reported_and_stays_near_float(subject, tmp_path):
    found = forms.report(subject, tmp_path, aware=False, draws=20, rounds=2)
    assert found.failed == {}
    assert [row.form for row in found.rows] == ["float32", *forms.makers(subject)]
    floating, *rest = found.rows
    assert floating.auc_change == metrics.Interval(0.0, 0.0, 0.0)
    # Random labels: a form that answers otherwise would rank otherwise.
    assert all(abs(row.auc_change.value) < 0.1 for row in rest)
    assert all(row.auc_change.low <= row.auc_change.value <= row.auc_change.high for row in rest)
    by_name = {row.form: row for row in found.rows}
    assert by_name["static, MinMax, U8S8, 7 bits"].bytes < 0.8 * floating.bytes
    assert forms.best(found).bytes == min(
        r.bytes for r in found.rows if r.auc_change.value >= -forms.MOST_LOST
    )
    table = forms.markdown(found)
    assert "-28 % size at a loss of 8 %" in table
    assert table.count("| +0.00 [+0.00, +0.00] |") >= 2


def test_slimming_changes_names_and_no_answer(net, tmp_path):
    export.export_gate(net, tmp_path / "gate.onnx")
    model = onnx.load(str(tmp_path / "gate.onnx"))
    for number, node in enumerate(model.graph.node):
        node.name = f"a/very/long/name/{number}"
    onnx.save(model, str(tmp_path / "long.onnx"))
    before = (tmp_path / "long.onnx").stat().st_size
    network = Network(tmp_path / "long.onnx")
    feed = {name: np.full_like(x, 0.5) for name, x in network.blank_feed().items()}
    answer = network.run(feed)
    quantize.slim(tmp_path / "long.onnx")
    slimmed = Network(tmp_path / "long.onnx")
    assert (tmp_path / "long.onnx").stat().st_size < before
    assert slimmed.outputs == network.outputs
    for wanted, got in zip(answer, slimmed.run(feed), strict=True):
        assert np.array_equal(got, wanted)


def test_folded_normalisation_answers_as_before(net):
    frames = torch.randn(2, 48, 64, generator=torch.Generator().manual_seed(0))
    folded = qat.fold_normalisation(GateNet((4, 8, 8, 8), 16, n_classes=3).eval())
    assert not any(isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) for m in folded.modules())
    copied = GateNet((4, 8, 8, 8), 16, n_classes=3)
    copied.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.allclose(qat.fold_normalisation(copied.eval())(frames), net(frames), atol=1e-5)


def test_a_rounded_layer_has_few_values_and_passes_the_gradient():
    layer = qat.Rounded(torch.nn.Linear(40, 3))
    x = torch.linspace(-1.0, 3.0, 80).reshape(2, 40)
    layer(x).sum().backward()
    weight = layer.weight().detach()
    steps = weight / (weight.abs().amax(dim=1, keepdim=True) / qat.WEIGHT_LEVELS)
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert not torch.allclose(weight, layer.layer.weight)
    # As if there were no rounding: the sum of the inputs, up to half a step each.
    assert torch.allclose(layer.layer.weight.grad, x.sum(dim=0).expand(3, 40), atol=2 * 4.0 / 255)
    assert (layer.low, layer.high) == (-1.0, 3.0)


def test_fine_tuning_makes_the_rounded_net_more_like_the_float_one(net, subject):
    def distance(candidate):
        with torch.no_grad():
            wanted, got = (subject.answers(n, np.arange(8)) for n in (net, candidate))
        return float((wanted - got).abs().mean())

    untrained = qat.on_the_grid(qat.round_layers(qat.fold_normalisation(_copy(net))))
    schedule = Schedule(epochs=30, batch=4, rate=1e-3, weight_decay=0.0, average=0.9)
    tuned = qat.tuned(net, subject.answers, subject.n_examples, schedule, seed=0)
    assert not any(isinstance(m, qat.Rounded | qat.Settled) for m in tuned.modules())
    assert distance(tuned) < 0.7 * distance(untrained)


def _copy(net):
    copied = GateNet((4, 8, 8, 8), 16, n_classes=3)
    copied.load_state_dict(net.state_dict())
    return copied.eval()
