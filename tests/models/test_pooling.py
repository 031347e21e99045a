"""Poolings, heads and the second trunk against hand-solved numbers and the published network."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")

from models.training import corpus  # noqa: E402
from models.training.nets import mn04, yamnet_trunk  # noqa: E402
from models.training.nets.pooled import PooledHead, TunedTail, body_of  # noqa: E402
from models.training.nets.pooling import POOLINGS, pooling_of  # noqa: E402
from monitor.errors import ConfigError, ModelError  # noqa: E402

pytestmark = pytest.mark.train

SEQUENCE = torch.tensor([[[1.0, 3.0, 5.0, 7.0], [2.0, 2.0, 2.0, 2.0]]])
"""Two channels, four steps: means 4 and 2, deviations sqrt(5) and 0, maxima 7 and 2."""

HAND_SOLVED = {
    "mean": [4.0, 2.0],
    "max": [7.0, 2.0],
    "statistic": [4.0, 2.0, 5.0**0.5, 0.0],
    "attention": [4.0, 2.0],
    "statistic+attention": [4.0, 2.0, 5.0**0.5, 0.0, 4.0, 2.0],
}


def _uniform(pooling):
    """Queries of zero: every step scores the same, so that attention is the mean."""
    for parameter in pooling.parameters():
        torch.nn.init.zeros_(parameter)
    return pooling


@pytest.mark.parametrize("name", POOLINGS)
def test_pooling_gives_the_hand_solved_numbers(name):
    pooling, width = pooling_of(name, 2, heads=2)
    pooled = _uniform(pooling)(SEQUENCE)
    assert pooled.shape == (1, width)
    assert torch.allclose(pooled[0], torch.tensor(HAND_SOLVED[name]), atol=5e-3)


def test_attention_follows_the_query_of_each_head():
    pooling, _ = pooling_of("attention", 2, heads=2)
    _uniform(pooling)
    with torch.no_grad():  # Head 0 looks where channel 0 is large; head 1 stays uniform.
        pooling.query.weight[0, 0, 0] = float(np.log(3.0) / 2.0)
    weights = np.array([1.0, 3.0, 9.0, 27.0]) / 40.0
    pooled = pooling(SEQUENCE)[0].detach()
    assert float(pooled[0]) == pytest.approx(weights @ [1.0, 3.0, 5.0, 7.0], abs=1e-4)
    assert float(pooled[1]) == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("name", ["mean", "max", "statistic"])
def test_order_of_steps_does_not_matter(name):
    pooling, _ = pooling_of(name, 5, heads=1)
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(pooling(x), pooling(x.flip(2)), atol=1e-6)


def test_tail_over_the_body_hears_what_the_whole_network_hears():
    torch.manual_seed(0)
    net = mn04.MN04().eval()
    tuned = TunedTail(net, PooledHead(mn04.EMBEDDING, "mean", 1, hidden=4, heads=4, dropout=0.0))
    mel = torch.randn(2, 1, 128, 64)
    with torch.no_grad():
        assert torch.allclose(tuned.columns(body_of(net)(mel)), net.columns(mel), atol=1e-5)


def test_tuning_leaves_the_trunk_it_began_with_and_its_statistics_alone():
    torch.manual_seed(0)
    net = mn04.MN04().eval()
    tuned = TunedTail(net, PooledHead(mn04.EMBEDDING, "statistic", 1, hidden=4, heads=4, dropout=0.0)).train()
    before = {name: value.clone() for name, value in tuned.tail.named_buffers()}
    old = net.features[-1][0].weight.clone()
    optimiser = torch.optim.SGD(tuned.parameters(), lr=0.1)
    tuned(torch.randn(4, 48, 8, 4)).square().sum().backward()
    optimiser.step()
    assert not torch.equal(tuned.tail[-1][0].weight, old)
    assert torch.equal(net.features[-1][0].weight, old)
    assert all(torch.equal(value, before[name]) for name, value in tuned.tail.named_buffers())


def test_yamnet_columns_come_every_32_frames():
    net, front_end = yamnet_trunk.YamnetTrunk().eval(), yamnet_trunk.YamnetFrontEnd()
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(3.73e6, rel=0.01)
    with torch.no_grad():
        mel = front_end(torch.zeros(1, 15_600))
        assert mel.shape == (1, 1, 96, 64)
        assert torch.allclose(mel, torch.log(torch.tensor(1e-3)))
        assert net.columns(mel).shape == (1, 1024, 3)


def test_yamnet_bands_rise_with_a_tone():
    """1 kHz lies at 1000 mel, (1000 - 185.2) / 39.8 = 20.5 steps above the lower edge: band 19 or 20."""
    time = torch.arange(15_600) / 16_000
    tone = torch.sin(2 * torch.pi * 1000.0 * time)[None]
    assert int(yamnet_trunk.YamnetFrontEnd()(tone)[0, 0, 48].argmax()) in {19, 20}


def test_file_without_yamnet_is_one_sentence(tmp_path):
    np.savez(tmp_path / "w.npz", other=np.zeros(3))
    with pytest.raises(ModelError, match=r"w\.npz holds no YAMNet weights"):
        yamnet_trunk.load(tmp_path / "w.npz")


@pytest.mark.data
def test_yamnet_hears_what_the_tflite_file_hears():
    """Margin after the weights' notes: the TFLite file rounds its activations to 8 bits."""
    from models.training import yamnet  # noqa: PLC0415

    pytest.importorskip("ai_edge_litert", reason="the TFLite runtime comes with the extra 'train'")
    try:
        root, pretrained = corpus.data_root(None), corpus.pretrained_root(None)
    except ConfigError as error:
        pytest.skip(f"public data is not here: {error}")
    clip = corpus.read_audio(root / "audio" / "esc50" / "cry-9277139b0d09.opus")  # ESC-50's 1-211527-C
    tflite = yamnet.Yamnet(pretrained / yamnet.MODEL_FILE)
    net = yamnet_trunk.load(pretrained / yamnet_trunk.WEIGHTS_FILE)
    n = len(clip) // yamnet.WINDOW_SAMPLES
    windows = clip[: n * yamnet.WINDOW_SAMPLES].reshape(n, -1)
    with torch.no_grad():
        ours = torch.sigmoid(net(yamnet_trunk.YamnetFrontEnd()(torch.from_numpy(windows)))).numpy()
    for window, scores in zip(windows, ours, strict=True):
        wanted = tflite(window)
        assert wanted.argmax() == scores.argmax()
        assert np.corrcoef(wanted, scores)[0, 1] > 0.85
