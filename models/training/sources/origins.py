"""Where each source of the audio data comes from in public, and how its clips lie in there.

Commits and versions are those that the catalogue was made from. ``Rebuilt`` is a promise about what
comes out; models/DATA.md says which promises were tested on the real files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

GIT_HOST: Final = "https://github.com"


@dataclass(frozen=True)
class Git:
    """A public git repository at one commit."""

    repository: str
    """``owner/name`` at the host."""
    commit: str
    """An abbreviation of at least 8 digits will do."""
    sparse: tuple[str, ...] = ()
    """Patterns of git's sparse checkout; none: all files."""

    @property
    def folder(self) -> str:
        """Name of its folder among the downloads."""
        return f"{self.repository.replace('/', '--')}-{self.commit[:8]}"

    def __str__(self) -> str:
        return f"git {self.repository} {self.commit[:8]}"


@dataclass(frozen=True)
class Debian:
    """A package of Debian 12 (bookworm), main."""

    package: str
    version: str

    @property
    def folder(self) -> str:
        """Name of its folder among the downloads."""
        return self.package

    def __str__(self) -> str:
        return f"Debian package {self.package} {self.version}"


class Rebuilt(StrEnum):
    """What the preparation gives, compared with the clips that the catalogue was made from."""

    EXACTLY = "exactly"
    """The same file and the same cut; decoder and resampler may differ in the last bits."""
    EQUIVALENTLY = "equivalently"
    """The same recording or the same speaker, another copy or another cut."""


Way = Literal["file", "parts", "words", "windows"]
"""How a clip is made: of one file, of files named in ``parts``, of a speaker's words, of windows."""


@dataclass(frozen=True)
class Origin:
    """A source: the places that hold it and the rule from a catalogue line to samples."""

    places: tuple[Git | Debian, ...]
    rebuilt: Rebuilt
    note: str
    way: Way = "file"
    folder: str = ""
    """Where the files are expected; elsewhere they are found by the end of their path."""
    ending: str = ""
    """Regular expression for what follows ``orig`` in a file's name."""
    start_s: float = 0.0
    longest_s: float | None = None


SPEECH_COMMANDS: Final = Git("adrianagaler/Snoring-Detection", "cae6c6e1")

ORIGINS: Final[Mapping[str, Origin]] = {
    "animal_sounds": Origin(
        (Git("YashNita/Animal-Sound-Dataset", "574b5e2d"),),
        Rebuilt.EXACTLY,
        "whole file, at most 6 s",
        longest_s=6.0,
    ),
    "asterisk_moh": Origin(
        (Debian("asterisk-moh-opsound-wav", "2.03-1.1"),),
        Rebuilt.EXACTLY,
        "90 s from 20 s on",
        folder="usr/share/asterisk/moh",
        ending=r"\.wav",
        start_s=20.0,
        longest_s=90.0,
    ),
    "asterisk_prompts": Origin(
        tuple(
            Debian(f"asterisk-core-sounds-{tongue}-g722", "1.6.1-1") for tongue in ("en", "es", "fr", "ru")
        ),
        Rebuilt.EXACTLY,
        "prompts joined without a gap, cut at 12 s; which ones, in the catalogue's column `parts`",
        way="parts",
        folder="usr/share/asterisk/sounds",
        ending=r"\.g722",
        longest_s=12.0,
    ),
    "blanket": Origin(
        (Git("rafaelmardojai/blanket", "8b1c27ae", ("/data/resources/sounds/",)),),
        Rebuilt.EXACTLY,
        "whole file",
        folder="data/resources/sounds",
        ending=r"\.ogg",
    ),
    "cry_in_noise": Origin(
        (Git("saha0073/baby-cry-detection-from-music-and-noise", "174f90d1"),),
        Rebuilt.EXACTLY,
        "whole file",
    ),
    "donateacry": Origin(
        (Git("gveres/donateacry-corpus", "6baf5aca0460964ad072653585837f968a87c2af"),),
        Rebuilt.EXACTLY,
        "whole upload (AMR and IMA ADPCM: needs ffmpeg)",
    ),
    "esc50": Origin(
        (Git("karolpiczak/ESC-50", "f2fd956acf66ebd9ac7e2110711aa78dd684d042", ("/audio/",)),),
        Rebuilt.EQUIVALENTLY,
        "the collection's own 5.0 s WAV; the clips measured here are copies of it from four other "
        "repositories, a third of them 1 to 20 ms longer, and coded once more",
        folder="audio",
        ending=r"-\d+\.wav",
    ),
    "giulbia": Origin(
        (
            Git(
                "giulbia/baby_cry_detection",
                "1b93c63b",
                ("/data/", "/baby_cry_detection/prediction_simulation/"),
            ),
        ),
        Rebuilt.EQUIVALENTLY,
        "5 s windows stitched back where they overlap and cut anew; the rule was inferred, so a clip "
        "that does not come out with the catalogue's length and level is reported and left out",
        way="windows",
        folder="data",
    ),
    "infant_speech_song": Origin(
        (Git("themusiclab/infant-speech-song", "b54579a5", ("/materials/naive-listener/audio/",)),),
        Rebuilt.EXACTLY,
        "whole file",
        folder="materials/naive-listener/audio/finals",
        ending=r"\.wav",
    ),
    "moodist": Origin(
        (Git("remvze/moodist", "983f7412", ("/public/sounds/",)),),
        Rebuilt.EXACTLY,
        "whole file",
        folder="public/sounds",
        ending=r"\.(?:mp3|wav|ogg)",
    ),
    "speech_commands": Origin(
        (SPEECH_COMMANDS,),
        Rebuilt.EQUIVALENTLY,
        "six words of the speaker, each followed by 0.1 s of silence; which words and their order were "
        "not recorded, here they are the first six by path",
        way="words",
    ),
    "speech_commands_bg": Origin((SPEECH_COMMANDS,), Rebuilt.EXACTLY, "whole file", ending=r"\.wav"),
    "speechbrain_noise": Origin(
        (Git("speechbrain/speechbrain", "9c826ef3", ("/tests/samples/",)),), Rebuilt.EXACTLY, "whole file"
    ),
    "voxceleb_sample": Origin(
        (Git("jim-schwoebel/sample_voice_data", "86fdf302bf31479d45a3d26954361d54917ae71c"),),
        Rebuilt.EXACTLY,
        "whole file, at most 10 s",
        longest_s=10.0,
    ),
    "wesnoth_music": Origin(
        (Debian("wesnoth-1.16-music", "1:1.16.9-1"),),
        Rebuilt.EXACTLY,
        "45 s from 25 s on",
        folder="usr/share/games/wesnoth/1.16/data/core/music",
        ending=r"\.ogg",
        start_s=25.0,
        longest_s=45.0,
    ),
}

ROOMS: Final = "rooms"
"""Name of the impulse responses among the sources."""
ROOM_RECORDINGS: Final = Git("speechbrain/speechbrain", "9c826ef3", ("/tests/samples/",))
