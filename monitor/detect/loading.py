"""From artefacts and settings to a pipeline, and the check that the models still answer as released."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from monitor.detect import artifacts
from monitor.detect.activity import HOP, ActivityDetector
from monitor.detect.artifacts import Artifact, CauseDecision, GateDecision, VerifierDecision
from monitor.detect.classifier import SEGMENT_FRAMES, CauseClassifier
from monitor.detect.episode import EpisodeRules, EpisodeTracker, Tier
from monitor.detect.features import N_MELS, LogMel
from monitor.detect.forms import Form, load_network
from monitor.detect.gate import GateModel, ScoreSmoother
from monitor.detect.inference import Network
from monitor.detect.odds import logit, sigmoid
from monitor.detect.pipeline import Pipeline
from monitor.detect.segment_mel import SEGMENT_SAMPLES
from monitor.detect.settings import DetectorSettings
from monitor.detect.vad import Vad
from monitor.detect.verifier import Verifier
from monitor.errors import ConfigError, ManifestMismatchError, ModelError
from monitor.types import samples

_T = TypeVar("_T", int, float)

GOLDEN_TOLERANCE: Final = 0.15
"""Largest difference in logits from the released outputs. Integer kernels differ between processors
by a rounding step here and there; a wrong or damaged model is off by whole units."""


def load_pipeline(settings: DetectorSettings, folder: Path | None = None) -> Pipeline:
    """A pipeline with the models of ``folder`` (None: those that came with the program).

    Raises ModelError if a model is missing or does not fit, ConfigError if the settings contradict
    each other or the model's own decision rule.
    """
    gate = artifacts.find(folder, "gate")
    decision = gate.manifest.decision
    if not isinstance(decision, GateDecision):
        raise ManifestMismatchError(f"{gate.folder}: the decision rule is not a gate's.")
    rules, suspicion = episode_rules(settings, decision), decision.suspect_threshold
    return Pipeline(
        ActivityDetector(Vad(settings.vad_mode), settings.level_margin_db),
        GateModel(load_network(gate, settings.model_form).network),
        ScoreSmoother(decision.smoothing_s),
        EpisodeTracker(rules),
        load_classifier(folder) if settings.classify else None,
        None if suspicion is None else load_verifier(folder),
        # A user's onset below the released suspicion takes it along.
        suspect_threshold=1.0 if suspicion is None else min(suspicion, *(tier.onset for tier in rules.tiers)),
        verifier_share=decision.verifier_share,
        always_awake=settings.always_awake,
    )


def has_verifier(folder: Path | None = None) -> bool:
    """Whether the gate of ``folder`` was released with a verifier behind it. Raises ModelError."""
    decision = artifacts.find(folder, "gate").manifest.decision
    return isinstance(decision, GateDecision) and decision.suspect_threshold is not None


def load_verifier(folder: Path | None = None) -> Verifier:
    """The verifier of ``folder``. Raises ModelError."""
    artifact = artifacts.find(folder, "verifier")
    decision = artifact.manifest.decision
    if not isinstance(decision, VerifierDecision):
        raise ManifestMismatchError(f"{artifact.folder}: the decision rule is not a verifier's.")
    return Verifier(Network(artifact.model, compact=True), decision.temperature)


def load_classifier(folder: Path | None = None) -> CauseClassifier:
    """The cause classifier of ``folder``. Raises ModelError."""
    cause = artifacts.find(folder, "cause")
    decision = cause.manifest.decision
    if not isinstance(decision, CauseDecision):
        raise ManifestMismatchError(f"{cause.folder}: the decision rule is not a classifier's.")
    return CauseClassifier(Network(cause.model), cause.manifest.labels, decision)


def _chosen(own: _T | None, released: _T) -> _T:
    return released if own is None else own


def episode_rules(settings: DetectorSettings, decision: GateDecision) -> EpisodeRules:
    """The user's settings where given, else the model's. Raises ConfigError if they contradict."""
    onset = _chosen(settings.onset_threshold, decision.onset_threshold)
    # An onset set below the released offset takes the offset along: the user asked for sensitivity.
    offset = _chosen(settings.offset_threshold, min(decision.offset_threshold, onset))
    hits = _chosen(settings.onset_hits, decision.onset_hits)
    window = _chosen(settings.onset_window_hops, max(decision.onset_window_hops, hits))
    try:
        return EpisodeRules(
            quick=Tier(onset, hits, window),
            offset=offset,
            hang_over=samples(_chosen(settings.hang_over_s, decision.hang_over_s)),
            cool_down=samples(_chosen(settings.cool_down_s, decision.cool_down_s)),
            update_every=samples(settings.update_every_s),
            patient=_patient(settings, decision, onset),
        )
    except ValueError as error:
        raise ConfigError(f"detect: {error}.", "Change one of the two keys, or leave both out.") from error


def _patient(settings: DetectorSettings, decision: GateDecision, onset: float) -> Tier | None:
    """The released patient tier, as much stricter or laxer as the user made the quick one."""
    released = decision.patient
    if released is None or not settings.patient:
        return None
    shift = logit(onset) - logit(decision.onset_threshold)
    threshold = sigmoid(logit(released.onset_threshold) + shift)
    return Tier(threshold, released.onset_hits, released.onset_window_hops)


_Form = tuple[type[np.generic], tuple[int | None, ...]]
"""Of an array: its type, and its shape with None for any length."""

_STEPS: Final[_Form] = (np.float32, (None,))


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """One model's answer to its golden input: the largest difference in logits from the release."""

    name: str
    form: Form
    difference: float


def verify_artifacts(folder: Path | None = None) -> list[GoldenResult]:
    """Run each model, in each form that it has, on the input that was released with it.

    Raises ModelError when a model is missing or answers differently by more than GOLDEN_TOLERANCE.
    """
    gate = artifacts.find(folder, "gate")
    golden = _golden(gate, audio=(np.int16, (None,)), **dict.fromkeys(_forms(gate).values(), _STEPS))
    results = []
    for form, released in _forms(gate).items():
        logits = gate_logits(load_network(gate, form).network, golden["audio"])
        results.append(_compare(gate, form, logits, golden[released]))
    results += _verifier_results(folder)
    cause = artifacts.find(folder, "cause")
    golden = _golden(cause, segment=(np.float32, (SEGMENT_FRAMES, N_MELS)), logits=_STEPS)
    logits = Network(cause.model).run({"segment": golden["segment"][None]})[0][0]
    return [*results, _compare(cause, "int8", logits, golden["logits"])]


def _forms(artifact: Artifact) -> dict[Form, str]:
    """Each form that an artefact has, and the name of its released answers."""
    forms: dict[Form, str] = {"int8": "logits"}
    return forms if artifact.float_model is None else forms | {"float": "float_logits"}


def _verifier_results(folder: Path | None) -> list[GoldenResult]:
    if not has_verifier(folder):
        return []
    artifact = artifacts.find(folder, "verifier")
    golden = _golden(artifact, segments=(np.int16, (None, SEGMENT_SAMPLES)), logits=_STEPS)
    verifier = Verifier(Network(artifact.model, compact=True))
    logits = np.array([verifier.judge(segment).logit for segment in golden["segments"]], np.float32)
    return [_compare(artifact, "int8", logits, golden["logits"])]


def gate_logits(network: Network, audio: NDArray[np.int16]) -> NDArray[np.float32]:
    """Logits of every step of ``audio``, int16 (n * HOP,), from silence: float32 (3 n,)."""
    front_end, gate = LogMel(), GateModel(network)
    hops = (audio[k : k + HOP] for k in range(0, len(audio) - HOP + 1, HOP))
    return np.concatenate([gate.process(front_end.process(hop)) for hop in hops])


def _golden(artifact: Artifact, **wanted: _Form) -> dict[str, NDArray[Any]]:
    """The arrays of those names and forms, each with something in it. Raises ModelError."""
    path = artifact.folder / artifacts.GOLDEN
    try:
        # From memory: on a damaged file numpy would leave the file open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = dict(stored)
    # A damaged archive raises whatever comes to the mind of zipfile, zlib and numpy.
    except Exception as error:
        raise ModelError(
            f"golden file {str(path)!r} cannot be read: {type(error).__name__}.", "Install Cradlewatch anew."
        ) from error
    for name, (dtype, shape) in wanted.items():
        found = arrays.get(name)
        fits = found is not None and found.dtype == dtype and found.ndim == len(shape) and found.size > 0
        if (
            found is None
            or not fits
            or any(n not in {None, m} for n, m in zip(shape, found.shape, strict=True))
        ):
            raise ModelError(
                f"golden file {str(path)!r} holds no {name} for this version.", "Install Cradlewatch anew."
            )
    return arrays


def _compare(
    artifact: Artifact, form: Form, got: NDArray[np.float32], released: NDArray[np.float32]
) -> GoldenResult:
    if got.shape != released.shape:
        raise ManifestMismatchError(
            f"{artifact.manifest.name} ({form}) has {got.size} answers to its golden input, not the released "
            f"{released.size}.",
            "Install Cradlewatch anew.",
        )
    difference = float(np.abs(got - released).max())
    if not difference <= GOLDEN_TOLERANCE:
        raise ManifestMismatchError(
            f"{artifact.manifest.name} ({form}) is {difference:.2f} off on golden input"
            f" (limit {GOLDEN_TOLERANCE}).",
            "Install Cradlewatch anew; if it stays, this processor computes wrongly: please report it.",
        )
    return GoldenResult(artifact.manifest.name, form, difference)
