"""The nets against plain arithmetic, and every exported form against torch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")
pytest.importorskip("onnx", reason="onnx is not installed: make install-train")

from models.training import export  # noqa: E402
from models.training.nets import mn04  # noqa: E402
from models.training.nets.cause import CauseNet  # noqa: E402
from models.training.nets.gate import GateNet  # noqa: E402
from models.training.nets.pooling import MultiHeadAttentionPooling, StatisticPooling  # noqa: E402
from monitor.detect.gate import GateModel  # noqa: E402
from monitor.detect.inference import Network  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def gate() -> GateNet:
    torch.manual_seed(0)
    net = GateNet((4, 8, 8, 8), 16)
    # Statistics that are not zero and one, so that a forgotten normalisation shows.
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return net.eval()


@pytest.fixture(scope="module")
def sequence() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (120, 64)).astype(np.float32)


def test_statistic_pooling_is_mean_and_deviation():
    x = torch.tensor([[[1.0, 3.0], [5.0, 5.0]]])
    assert torch.allclose(StatisticPooling()(x), torch.tensor([[2.0, 5.0, 1.0, 0.0]]), atol=5e-3)


def test_attention_pooling_equals_the_loop_over_heads():
    torch.manual_seed(0)
    pool, x = MultiHeadAttentionPooling(8, 2), torch.randn(3, 8, 7)
    got = pool(x)
    for b in range(3):
        for head in range(2):
            query, bias = pool.query.weight[head, :, 0], pool.query.bias[head]
            weights = torch.softmax(torch.stack([query @ x[b, :, t] + bias for t in range(7)]), dim=0)
            wanted = sum(weights[t] * x[b, 4 * head : 4 * head + 4, t] for t in range(7))
            assert torch.allclose(got[b, 4 * head : 4 * head + 4], wanted, atol=1e-6)


def test_attention_with_uneven_heads_is_refused():
    with pytest.raises(ValueError, match="width 10 is no multiple of heads 4"):
        MultiHeadAttentionPooling(10, 4)


def test_gate_looks_only_back(gate, sequence):
    changed = sequence.copy()
    changed[60:] = 3.0
    with torch.no_grad():
        before, after = gate(torch.from_numpy(sequence[None])), gate(torch.from_numpy(changed[None]))
    assert torch.equal(before[..., :15], after[..., :15])
    assert not torch.equal(before[..., 15:], after[..., 15:])


def test_gate_streams_as_it_was_trained(gate, sequence, tmp_path):
    export.export_gate(gate, tmp_path / "gate.onnx")
    stream = GateModel(Network(tmp_path / "gate.onnx"))
    streamed = np.concatenate([stream.process(sequence[k : k + 12]) for k in range(0, 120, 12)])
    with torch.no_grad():
        whole = gate(torch.from_numpy(sequence[None]))[0, 0].numpy()
    assert np.allclose(streamed, whole, atol=1e-4)


def test_gate_reset_forgets_the_stream(gate, sequence, tmp_path):
    export.export_gate(gate, tmp_path / "gate.onnx")
    stream = GateModel(Network(tmp_path / "gate.onnx"))
    first = stream.process(sequence[:12])
    stream.process(sequence[12:24])
    stream.reset()
    assert np.array_equal(stream.process(sequence[:12]), first)


def test_int8_gate_stays_near_float(gate, sequence, tmp_path):
    export.export_gate(gate, tmp_path / "gate.float.onnx")
    sequences = np.random.default_rng(1).normal(0, 1, (8, 120, 64)).astype(np.float16)
    export.quantize_gate(tmp_path / "gate.float.onnx", tmp_path / "gate.int8.onnx", sequences)
    answers = []
    for form in ("float", "int8"):
        stream = GateModel(Network(tmp_path / f"gate.{form}.onnx"))
        answers.append(np.concatenate([stream.process(sequence[k : k + 12]) for k in range(0, 120, 12)]))
    assert np.abs(answers[0] - answers[1]).mean() < 0.1 * answers[0].std() + 0.02


def test_cause_net_exports_as_it_answers(tmp_path):
    torch.manual_seed(0)
    net = CauseNet().eval()
    segment = np.random.default_rng(0).normal(0, 1, (1, 300, 64)).astype(np.float32)
    export.export_cause(net, tmp_path / "cause.onnx")
    with torch.no_grad():
        wanted = net(torch.from_numpy(segment)).numpy()
    assert np.allclose(Network(tmp_path / "cause.onnx").run({"segment": segment})[0], wanted, atol=1e-4)


def test_teacher_has_the_published_shape():
    net = mn04.MN04().eval()
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(0.98e6, rel=0.02)
    with torch.no_grad():
        mel = mn04.MelFrontEnd()(torch.randn(1, 320_000))
        assert mel.shape[:3] == (1, 1, 128)
        assert net.columns(mel).shape == (1, 384, 32)
        assert net(mel).shape == (1, 527)


@pytest.mark.data
def test_teacher_hears_what_its_weights_were_checked_with():
    """The score that the weights' own notes give for this clip, heard through 16 kHz."""
    from models.training import corpus, teach  # noqa: PLC0415
    from monitor.errors import ConfigError  # noqa: PLC0415

    try:
        root, pretrained = corpus.data_root(None), corpus.pretrained_root(None)
    except ConfigError as error:
        pytest.skip(f"public data is not here: {error}")
    clip = root / "audio" / "esc50" / "cry-9277139b0d09.opus"  # ESC-50's 1-211527-C
    audio = torch.from_numpy(corpus.read_audio(clip)[None])
    with torch.no_grad():
        mel = mn04.MelFrontEnd()(teach.at_teacher_rate(audio))
        score = torch.sigmoid(teach.load_teacher(pretrained)(mel))[0, 23]
    assert float(score) == pytest.approx(0.405, abs=0.06)
