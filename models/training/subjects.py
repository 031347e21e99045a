"""The nets whose forms are compared: the gate as it streams, the verifier on segments, the gate's teacher."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training import corpus, export, scenes, teach
from models.training.forms import Subject
from models.training.gate import Preparation, load_gate
from models.training.nets import mn04
from models.training.nets.gate import GateNet
from models.training.nets.verifier import Verifier
from models.training.quantize import Feed
from models.training.train import Indices
from models.training.verifier import SEGMENT_STEPS, SURE, truth
from monitor.detect.gate import HOP_FRAMES, GateModel
from monitor.detect.inference import Network
from monitor.detect.segment_mel import SEGMENT_SAMPLES, segment_mel

SPLITS: Final[tuple[corpus.Split, ...]] = ("train", "val")
CALIBRATION_SCENES: Final = 100
EXAMPLES: Final = 1000
"""Scenes of train for fine-tuning: it has to learn rounding, not crying."""
TEACHER_CALIBRATION_SCENES: Final = 24
"""A scene is one run of the teacher, and calibration by histogram holds every activation of all runs."""
TEACHER_EXAMPLES: Final = 600


def every(n: int, wanted: int) -> NDArray[np.int64]:
    """About ``wanted`` indices, spread over ``n``."""
    return np.linspace(0, n - 1, min(n, wanted)).astype(np.int64)


def gate_subject(
    net: GateNet,
    train: NDArray[np.float16],
    val: NDArray[np.float16],
    label: NDArray[np.float32],
    weight: NDArray[np.float32],
) -> Subject:
    """The gate, hop by hop through the very class of the runtime.

    ``train`` and ``val``: float16 (n, frames, N_MELS); ``label`` and ``weight`` of val: (n, steps).
    """
    n_hops = val.shape[1] // HOP_FRAMES
    steps = n_hops * export.STEPS_PER_HOP

    def score(network: Network) -> NDArray[np.float32]:
        return np.stack([_streamed(network, sequence) for sequence in val])

    def answers(heard: nn.Module, batch: Indices) -> Tensor:
        return heard(torch.from_numpy(train[examples[batch]].astype(np.float32)))[:, 0]

    examples = every(len(train), EXAMPLES)
    calibration = np.array(train[every(len(train), CALIBRATION_SCENES)])
    return Subject(
        name="gate",
        net=net,
        export=export.export_gate,
        feeds=lambda path: export.gate_feeds(path, calibration),
        score=score,
        labels=label[:, :steps] > 0.5,
        sure=weight[:, :steps] == 1.0,
        answers=answers,
        n_examples=len(examples),
    )


def _streamed(network: Network, sequence: NDArray[np.float16]) -> NDArray[np.float32]:
    stream = GateModel(network)
    frames = sequence.astype(np.float32)
    hops = range(0, len(frames) - HOP_FRAMES + 1, HOP_FRAMES)
    return np.concatenate([stream.process(frames[k : k + HOP_FRAMES]) for k in hops])


class Teacher(nn.Module):
    """mn04 with its cry head over whole scenes: mel (batch, 1, 128, frames) -> logits (batch, columns)."""

    def __init__(self, trunk: mn04.MN04, head: teach.TeacherHead) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, mel: Tensor) -> Tensor:
        return self.head(self.trunk.columns(mel))


@torch.no_grad()
def teacher_mel(audio: NDArray[np.int16]) -> NDArray[np.float32]:
    """The teacher's log-mel of scenes, int16 (n, samples) -> float32 (n, 1, 128, frames)."""
    front_end = mn04.MelFrontEnd()
    waves = (torch.from_numpy(scene[None].astype(np.float32) / 32768.0) for scene in audio)
    return np.concatenate([front_end(teach.at_teacher_rate(wave)).numpy() for wave in waves])


def teacher_subject(net: Teacher, train: NDArray[np.int16], val: scenes.SceneSet, n_scenes: int) -> Subject:
    """The teacher, ten seconds at a time."""
    heard_mel = teacher_mel(val.audio[:n_scenes]).astype(np.float16)
    calibration = teacher_mel(train[every(len(train), TEACHER_CALIBRATION_SCENES)])
    examples = every(len(train), TEACHER_EXAMPLES)

    def feeds(_: Path) -> Iterator[Feed]:
        return ({"mel": mel[None]} for mel in calibration)

    def score(network: Network) -> NDArray[np.float32]:
        columns = np.concatenate([network.run({"mel": mel[None].astype(np.float32)})[0] for mel in heard_mel])
        return np.repeat(columns, teach.COLUMN_STEPS, axis=1)[:, : scenes.STEPS]

    def answers(heard: nn.Module, batch: Indices) -> Tensor:
        return heard(torch.from_numpy(teacher_mel(train[examples[batch]])))

    def write(heard: nn.Module, path: Path) -> None:
        names = {"input_names": ["mel"], "output_names": ["logits"]}
        export.write_onnx(heard.eval(), (torch.from_numpy(calibration[:1]),), path, names)

    return Subject(
        name="teacher",
        net=net,
        export=write,
        feeds=feeds,
        score=score,
        labels=val.label[:n_scenes] > 0.5,
        sure=val.weight[:n_scenes] == 1.0,
        answers=answers,
        n_examples=len(examples),
    )


class Judge(nn.Module):
    """The verifier's cry logit alone."""

    def __init__(self, net: Verifier) -> None:
        super().__init__()
        self.net = net

    def forward(self, segment: Tensor) -> Tensor:
        return self.net(segment)[0]


def _mels(audio: NDArray[np.int16], starts: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """Bands of segments, each given by its scene and its first sample."""
    return np.stack([segment_mel(np.array(audio[k, s : s + SEGMENT_SAMPLES])) for k, s in starts])


def verifier_subject(net: Verifier, train: NDArray[np.int16], val: scenes.SceneSet, n_scenes: int) -> Subject:
    """The verifier on three segments of each scene: its beginning, middle and end."""
    steps = (0, SEGMENT_STEPS, scenes.STEPS - SEGMENT_STEPS)
    chosen = [(scene, step) for scene in range(n_scenes) for step in steps]
    label, weight = truth(val.label, val.weight, chosen)
    heard = _mels(val.audio, [(scene, step * scenes.STEP_SAMPLES) for scene, step in chosen]).astype(
        np.float16
    )
    examples = [(int(k), scenes.STEP_SAMPLES * SEGMENT_STEPS) for k in every(len(train), EXAMPLES)]
    learnt = _mels(train, examples)

    def score(network: Network) -> NDArray[np.float32]:
        logits = [network.run({"segment": mel[None].astype(np.float32)})[0][0] for mel in heard]
        return np.array(logits, np.float32).reshape(n_scenes, -1)

    def write(net: nn.Module, path: Path) -> None:
        names = {"input_names": ["segment"], "output_names": ["logit"]}
        export.write_onnx(net.eval(), (torch.from_numpy(learnt[:1]),), path, names)

    return Subject(
        name="verifier",
        net=Judge(net),
        export=write,
        feeds=lambda _: ({"segment": mel[None]} for mel in learnt[::4]),
        score=score,
        labels=(label > 0.5).reshape(n_scenes, -1),
        sure=(weight > SURE).reshape(n_scenes, -1),
        answers=lambda net, batch: net(torch.from_numpy(learnt[batch])),
        n_examples=len(learnt),
    )


def _prepared(options: argparse.Namespace) -> tuple[Preparation, dict[str, Any]]:
    data, pretrained = corpus.data_root(options.data), corpus.pretrained_root(options.pretrained)
    recipe = tomllib.loads(options.recipe.read_text())
    return Preparation(data, pretrained, options.cache, 1), recipe["scenes"]


def _gate(options: argparse.Namespace) -> Subject:
    prepare, wanted = _prepared(options)
    n = options.scenes
    truth = scenes.load(prepare.folder("val", **wanted["val"]))
    return gate_subject(
        load_gate(options.run / "gate.pt"),
        prepare.features("train", **wanted["train"]),
        prepare.features("val", **wanted["val"])[:n],
        truth.label[:n],
        truth.weight[:n],
    )


def _teacher(options: argparse.Namespace) -> Subject:
    prepare, wanted = _prepared(options)
    train, val = (scenes.load(prepare.folder(split, **wanted[split])) for split in SPLITS)
    head = teach.TeacherHead()
    head.load_state_dict(torch.load(options.run / "teacher_head.pt", weights_only=True))
    net = Teacher(teach.load_teacher(prepare.pretrained), head.eval())
    return teacher_subject(net, train.audio, val, options.scenes)


def _verifier(options: argparse.Namespace) -> Subject:
    prepare, wanted = _prepared(options)
    train, val = (scenes.load(prepare.folder(split, **wanted[split])) for split in SPLITS)
    net = Verifier(teach.load_teacher(prepare.pretrained))
    net.load_state_dict(torch.load(options.run / "verifier.pt", weights_only=True))
    return verifier_subject(net.eval(), train.audio, val, min(options.scenes, len(val.label)))


SUBJECTS: Final[dict[str, Callable[[argparse.Namespace], Subject]]] = {
    "gate": _gate,
    "verifier": _verifier,
    "teacher": _teacher,
}
