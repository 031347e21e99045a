"""Model cards: what a machine knows, then what people have to say (``models/training/cards/``)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from models.training.corpus import Clip
from monitor.detect.artifacts import Kind

CARDS: Final = Path(__file__).with_name("cards")
FORMS: Final[Mapping[Kind, str]] = {
    "gate": "static int8",
    "verifier": "linear layers in dynamic int8, the rest float",
    "cause": "static int8",
}
INTERVAL: Final = frozenset({"value", "low", "high"})


def write(folder: Path, manifest: Mapping[str, Any], clips: Sequence[Clip]) -> None:
    """Write ``MODEL_CARD.md`` of a filled folder; ``clips`` are the whole corpus."""
    (folder / "MODEL_CARD.md").write_text(text(manifest, clips, sorted(folder.glob("*.png"))))


def text(manifest: Mapping[str, Any], clips: Sequence[Clip], pictures: Sequence[Path]) -> str:
    """The whole card."""
    kind: Kind = manifest["kind"]
    taught = [c for c in clips if c.split == "train" and c.train_ok and _teaches(kind, c)]
    sections = [
        f"# {manifest['name']}",
        "Written by `models.training.release`; only the last part is by hand.",
        _about(kind, manifest, taught),
        "## Decision rule\n\nChosen on the validation split.\n\n" + _table(manifest["decision"]),
        "## Validation\n\n" + _table(manifest["validation"]),
    ]
    if manifest["figures"]:
        sections.append("## Test\n\n" + _table(manifest["figures"]))
    sections += [f"![{picture.stem.replace('_', ' ')}]({picture.name})" for picture in pictures]
    return "\n\n".join(sections) + "\n\n" + (CARDS / f"{kind}.md").read_text()


def _about(kind: Kind, manifest: Mapping[str, Any], taught: Sequence[Clip]) -> str:
    sources = Counter(clip.source for clip in taught)
    licences = Counter(clip.licence.split(" (")[0] for clip in taught)
    rows = {
        "file": f"`{manifest['file']}`, {manifest['bytes']:,} bytes, {FORMS[kind]}",
        "weights": f"{manifest['parameters']:,}",
        "SHA-256": f"`{manifest['sha256']}`",
        "int8 against float": f"{manifest['int8_minus_float']:.4f} in probability, mean on golden input",
        "data": f"manifest `{manifest['data_sha256'][:16]}`, {manifest['training_clips']}",
        "clips by source": ", ".join(f"{name} {n}" for name, n in sorted(sources.items())),
        "their licences": ", ".join(f"{name} {n}" for name, n in licences.most_common()),
    }
    lines = [f"| {key} | {value} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _teaches(kind: Kind, clip: Clip) -> bool:
    return kind != "cause" or clip.source == "donateacry" or clip.label == "cry"


def _table(values: Mapping[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in _flat(values))])


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as lines; an interval is one value."""
    for key, value in values.items():
        name = f"{above} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping) and value.keys() >= INTERVAL:
            rest = "".join(f", {k} {_short(v)}" for k, v in value.items() if k not in INTERVAL)
            low, high = _short(value["low"]), _short(value["high"])
            yield name, f"{_short(value['value'])} [{low}, {high}]{rest}"
        elif isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, _short(value)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
