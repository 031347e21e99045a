"""Finds a model's files and holds them to their manifest."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitor.detect import features, segment_mel
from monitor.errors import ManifestMismatchError, ModelError

MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
MOST_HOPS = 10_000
MOST_S = 3600.0
LEAST_TEMPERATURE = 1e-6
"""Nobody releases a rule beyond these; a damaged manifest may hold anything."""
Kind = Literal["gate", "verifier", "cause"]
_REMEDY = "Install Cradlewatch anew, or point detect.artifacts at a complete folder."


class PatientTier(BaseModel):
    """The slower way to an episode: more hops of a lower score over a longer time."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    onset_threshold: float = Field(ge=0, le=1)
    onset_hits: int = Field(ge=1, le=MOST_HOPS)
    onset_window_hops: int = Field(ge=1, le=MOST_HOPS)


class GateDecision(BaseModel):
    """The decision rule chosen on the validation split together with the gate's weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    onset_threshold: float = Field(ge=0, le=1)
    offset_threshold: float = Field(ge=0, le=1)
    onset_hits: int = Field(ge=1, le=MOST_HOPS)
    onset_window_hops: int = Field(ge=1, le=MOST_HOPS)
    hang_over_s: float = Field(ge=0, le=MOST_S)
    cool_down_s: float = Field(ge=0, le=MOST_S)
    smoothing_s: float = Field(
        ge=0, le=MOST_S, description="time constant of the score's exponential average"
    )
    suspect_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="gate score from which the verifier is asked; null: never",
    )
    verifier_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="the verifier's weight in the mean of both logits",
    )
    patient: PatientTier | None = None


class VerifierDecision(BaseModel):
    """How the verifier's logit becomes a probability."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(gt=LEAST_TEMPERATURE, description="the logit is divided by it")


class CauseDecision(BaseModel):
    """When the classifier may name a cause, and what it has to beat."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(gt=LEAST_TEMPERATURE, description="logits are divided by it")
    answer_above: float = Field(
        ge=0, description="least ratio of the top cause's probability to its base rate; else unsure"
    )
    answer_probability: float = Field(
        ge=0, le=1, description="least probability of the top cause; else unsure"
    )
    priors: dict[str, float]


class ModelFile(BaseModel):
    """A further file beside the model, described as the model itself is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    file: str
    sha256: str


class Manifest(BaseModel):
    """What an artefact says of itself; written by the release step, never by hand."""

    model_config = ConfigDict(frozen=True, extra="allow")

    schema_version: Literal[1] = Field(alias="schema")
    name: str
    kind: Kind
    file: str
    sha256: str
    float_form: ModelFile | None = Field(
        None, alias="float", description="the same network unquantized; artefacts before it have none"
    )
    front_end: str
    labels: list[str]
    decision: GateDecision | CauseDecision | VerifierDecision


class Artifact:
    """A folder with a model that fits this program."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        """Read the manifest and check the file against it.

        Raises ModelError when something is missing or unreadable, ManifestMismatchError when it does
        not fit.
        """
        self.folder = folder
        self.manifest = _read_manifest(folder / MANIFEST)
        if self.manifest.kind != kind:
            raise ManifestMismatchError(
                f"{folder} holds a {self.manifest.kind} model, not a {kind} model.", _REMEDY
            )
        self.model = _intact(folder / self.manifest.file, self.manifest.sha256)
        floating = self.manifest.float_form
        self.float_model = None if floating is None else _intact(folder / floating.file, floating.sha256)
        if self.manifest.front_end != _front_end(kind):
            raise ManifestMismatchError(
                f"{self.manifest.name} was trained on another log-mel front end than this program computes.",
                _REMEDY,
            )


def _front_end(kind: Kind) -> str:
    return segment_mel.fingerprint() if kind == "verifier" else features.fingerprint()


def default_folder() -> Path:
    """Where the models are: inside an installed package, else beside it in a clone."""
    package = Path(str(resources.files("monitor")))
    inside = package / "_artifacts"
    return inside if inside.is_dir() else package.parent / "models" / "artifacts"


def files(folder: Path | None) -> list[Path]:
    """The files that a start reads: manifests and models. What is missing is not told here."""
    root = default_folder() if folder is None else folder
    return sorted([*root.glob(f"*/{MANIFEST}"), *root.glob("*/*.onnx")])


def find(folder: Path | None, kind: Kind) -> Artifact:
    """The model of one kind in a folder of artefacts. Raises ModelError."""
    root = default_folder() if folder is None else folder
    return Artifact(root / kind, kind)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"model file {str(path)!r} cannot be read: {error.strerror}.", _REMEDY) from error


def _intact(path: Path, sha256: str) -> Path:
    digest = hashlib.sha256(_read(path)).hexdigest()
    if digest != sha256:
        raise ManifestMismatchError(
            f"{path} has SHA-256 {digest[:12]}…, its manifest says {sha256[:12]}….", _REMEDY
        )
    return path


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(_read(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(ascii(part)[1:-1] if isinstance(part, str) else str(part) for part in first["loc"])
        where = where[:200] or "the whole file"
        raise ManifestMismatchError(f"{path}: {where}: {first['msg']}.", _REMEDY) from error
