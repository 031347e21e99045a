import csv
import json
import shutil
import subprocess
from dataclasses import asdict, replace

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import soxr

from models.training import corpus, prepare
from models.training.sources import catalogue, measure, rooms, sound, windows
from models.training.sources.catalogue import Entry
from models.training.sources.fetch import SourceError
from models.training.sources.origins import ORIGINS, ROOMS, Debian, Git, Origin, Rebuilt
from monitor.errors import AudioFileError, ConfigError
from tests.models.corpus_folder import noise, tone

RATE = 16_000
IDENTITY = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]


def entry(source, orig, *, label="rain", duration_s=1.0, rms_db=-20.0, split="train", **facts):
    blank = dict.fromkeys(catalogue.COLUMNS, "")
    name = orig.replace("/", "-").replace(" ", "-")
    blank |= {"path": f"audio/{source}/{label}-{name}.opus", "source": source, "label": label, "orig": orig}
    blank |= {"group": f"g:{orig}", "split": split, "licence": "CC0", "train_ok": "1", "verified": "1"}
    return Entry(**blank | {"duration_s": str(duration_s), "rms_db": str(rms_db)} | facts)


def level(samples):
    return round(10 * np.log10(np.mean(np.square(samples, dtype=float))), 1)


class Publisher:
    """Public copies on this disk: git repositories below one folder, each with one commit."""

    def __init__(self, folder):
        self.folder = folder
        self.host = folder.as_uri()

    def publish(self, repository, files):
        root = self.folder / repository
        for name, (samples, rate) in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples, rate, subtype="PCM_16")
        for command in (["init", "-q"], ["add", "."], [*IDENTITY, "commit", "-qm", "audio"]):
            subprocess.run(["git", "-C", root, *command], check=True)
        head = ["git", "-C", root, "rev-parse", "HEAD"]
        return Git(repository, subprocess.run(head, check=True, capture_output=True, text=True).stdout[:8])


class World:
    """Three small public sources, the catalogue of their clips, and the command that prepares them."""

    def __init__(self, tmp_path):
        self.tmp_path, self.out = tmp_path, tmp_path / "data"
        self.publisher = Publisher(tmp_path / "public")
        self.wide = noise(6.0, seed=1)[: 2 * 44_100].reshape(-1, 2)
        self.fan = noise(2.0, seed=2)
        forest = self.publisher.publish(
            "someone/forest",
            {"sounds/deep/wind.wav": (self.wide, 44_100), "sounds/fan.flac": (self.fan, RATE)},
        )
        self.spoken = {
            f"speech/{word}/ab12_nohash_0.wav": (tone(0.5, hz), RATE)
            for word, hz in (("on", 300), ("go", 600))
        }
        words = self.publisher.publish("someone/words", self.spoken)
        # 7 s at a time, then the next recording: windows of 5 s with a step of 1 s.
        self.first, self.second = noise(7.0, seed=3), noise(5.0, seed=4)
        parts = [self.first[k * RATE : (k + 5) * RATE] for k in range(3)] + [self.second]
        home = self.publisher.publish(
            "someone/home", {f"data/cries/nap.m4a_{k}.wav": (part, RATE) for k, part in enumerate(parts)}
        )
        exactly = {"folder": "sounds", "ending": r"\.(?:wav|flac)", "start_s": 0.25, "longest_s": 1.0}
        self.origins = {
            "forest": Origin((forest,), Rebuilt.EXACTLY, "", **exactly),
            "words": Origin((words,), Rebuilt.EQUIVALENTLY, "", way="words"),
            "home": Origin((home,), Rebuilt.EQUIVALENTLY, "", way="windows"),
        }
        self.wind = soxr.resample(self.wide.mean(axis=1), 44_100, RATE)[4000:]
        self.entries = [
            entry(
                "forest", "deep/wind", label="wind", duration_s=0.75, rms_db=level(self.wind), detail="long"
            ),
            entry("forest", "fan", split="val", rms_db=level(self.fan[4000:20_000])),
            entry("words", "words of speaker ab12", label="speech", split="test"),
            entry(
                "home", "cries/nap.m4a seg0 +5s", label="cry", duration_s=2.0, cause5="hungry", split="test"
            ),
            entry("home", "cries/nap.m4a seg1 +0s", label="cry", duration_s=5.0, split="test"),
        ]
        size = {"room_x_m": "3", "room_y_m": "2.6", "room_z_m": "2.4"}
        facts = {"source": "synthetic", "licence": "CC0", "split": "train", "samples": ""}
        self.room_lines = [{"path": "rir/small.flac", "rt60_s": "0.2", "distance_m": "1.2"} | size | facts]

    def run(self, *more, out=None, host=None, origins=None):
        listed, lines = self.tmp_path / "catalogue.csv.gz", self.tmp_path / "rooms.csv"
        catalogue.save(self.entries, listed)
        with lines.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.room_lines[0]))
            writer.writeheader()
            writer.writerows(self.room_lines)
        where = ["--out", out or self.out, "--downloads", self.tmp_path / "downloads"]
        what = ["--catalogue", listed, "--rooms", lines, "--host", host or self.publisher.host]
        return prepare.main([str(part) for part in (*where, *what, *more)], origins=origins or self.origins)

    def audio(self, orig):
        path = next(each.path for each in self.entries if each.orig == orig)
        return corpus.read_audio(self.out / path)

    def missing(self):
        return (self.out / "missing.txt").read_text().splitlines()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def alike(a, b):
    return len(a) == len(b) and np.corrcoef(a, b)[0, 1] > 0.9


def test_public_copies_become_a_data_folder_that_training_reads(world):
    assert world.run() == 0
    clips = corpus.load_manifest(corpus.data_root(world.out))
    assert [clip.path for clip in clips] == [each.path for each in world.entries]
    assert [clip.duration_s for clip in clips] == [0.75, 1.0, 1.2, 2.0, 5.0]
    assert (clips[3].cause5, clips[3].split, clips[3].mn04_cry) == ("hungry", "test", None)
    assert [room.rt60_s for room in corpus.load_rooms(world.out, "train")] == [0.2]
    assert alike(world.audio("deep/wind"), world.wind)
    assert alike(world.audio("fan"), world.fan[4000:20_000])
    pause = np.zeros(1600)
    spoken = np.concatenate([tone(0.5, 600), pause, tone(0.5, 300), pause])  # sorted by path: go, on
    assert alike(world.audio("words of speaker ab12"), spoken)
    assert alike(world.audio("cries/nap.m4a seg0 +5s"), world.first[5 * RATE :])
    assert alike(world.audio("cries/nap.m4a seg1 +0s"), world.second)


def test_catalogue_facts_arrive_in_the_manifest_unchanged(world):
    world.run("--only", "forest")
    with (world.out / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == catalogue.MANIFEST_COLUMNS
    for row, each in zip(rows, world.entries[:2], strict=True):
        assert each.facts() == {key: row[key] for key in each.facts()}
        assert set(each.facts()) | set(catalogue.MEASURED) == set(row)


def test_second_run_makes_nothing_and_gives_the_same_manifest(world, capsys):
    world.run()
    before = (world.out / "manifest.csv").read_bytes()
    written = {path: path.stat().st_mtime_ns for path in world.out.rglob("*.opus")}
    shutil.rmtree(world.publisher.folder)  # nothing is fetched again either
    assert world.run() == 0
    assert (world.out / "manifest.csv").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in world.out.rglob("*.opus")} == written


def test_two_people_get_equal_hashes(world, tmp_path):
    world.run()
    world.run(out=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "manifest.csv").read_bytes() == (world.out / "manifest.csv").read_bytes()


def test_goes_on_from_what_a_kill_left(world):
    world.run()
    manifest = (world.out / "manifest.csv").read_bytes()
    ledger = world.out / "prepared.jsonl"
    kept, torn = ledger.read_text().splitlines()[:2]
    (world.out / "manifest.csv").unlink()
    ledger.write_text(f"{kept}\n{torn[:40]}")
    first = world.out / json.loads(kept)["path"]
    written = first.stat().st_mtime_ns
    for path in set(world.out.rglob("*.opus")) - {first}:
        path.with_name(path.name + ".part").write_bytes(path.read_bytes()[:50])
        path.unlink()
    clone = next((world.tmp_path / "downloads").glob("*home*"))
    clone.rename(clone.with_name(clone.name + ".part"))
    assert world.run() == 0
    assert (world.out / "manifest.csv").read_bytes() == manifest
    assert first.stat().st_mtime_ns == written


def test_damaged_clip_is_made_again(world):
    world.run("--only", "forest")
    whole = (world.out / world.entries[0].path).read_bytes()
    (world.out / world.entries[0].path).write_bytes(whole[:-100])
    assert world.run("--only", "forest") == 0
    assert (world.out / world.entries[0].path).read_bytes() == whole


def test_missing_file_is_named_and_costs_only_its_clip(world, capsys):
    world.entries.append(entry("forest", "deep/owl"))
    assert world.run() == 1
    assert world.missing() == [
        "forest: audio/forest/rain-deep-owl.opus is missing: no file 'deep/owl' in sounds."
    ]
    assert "no file 'deep/owl' in sounds." in capsys.readouterr().out
    assert len(corpus.load_manifest(world.out)) == 5


def test_commit_and_host_that_are_not_there_are_one_sentence_each(world):
    lost = Git("someone/home", "0123456789abcdef")
    world.origins["home"] = replace(world.origins["home"], places=(lost,))
    world.origins["words"] = replace(world.origins["words"], places=(Git("no/where", "01234567"),))
    assert world.run() == 1
    assert len(corpus.load_manifest(world.out)) == 2
    assert any("someone/home has no commit 0123456789abcdef" in line for line in world.missing())
    assert any("no/where cannot be cloned" in line for line in world.missing())


def test_clip_unlike_the_catalogue_is_reported(world):
    world.entries[1] = replace(world.entries[1], rms_db=str(float(world.entries[1].rms_db) - 30))
    assert world.run("--only", "forest") == 1
    (line,) = world.missing()
    assert "is unlike the catalogue: +0.000 s and +30.0 dB" in line


def test_windows_that_do_not_join_as_catalogued_are_missing(world):
    world.entries[3] = replace(world.entries[3], duration_s="4.0")
    assert world.run("--only", "home") == 1
    assert "do not join to the 4 s of 'cries/nap.m4a seg0 +5s'" in world.missing()[0]


def test_two_files_of_one_name_are_refused_unless_equal(world):
    files = {f"x/{k}/owl.wav": (noise(1.0, seed=k), RATE) for k in (1, 2)}
    files |= {f"x/{k}/bee.wav": (noise(1.0), RATE) for k in (1, 2)}
    place = world.publisher.publish("someone/zoo", files)
    world.origins["zoo"] = Origin((place,), Rebuilt.EQUIVALENTLY, "", ending=r"\.wav")
    world.entries += [entry("zoo", "owl"), entry("zoo", "bee")]
    assert world.run("--only", "zoo") == 1
    (line,) = world.missing()
    assert "'owl' is not one file but 2" in line


def test_telephone_codec_without_ffmpeg_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match=r"^\.3gp files need ffmpeg.*Debian's package ffmpeg"):
        sound.decode(tmp_path / "upload.3gp")


def test_g722_goes_through_ffmpeg(tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", str(tmp_path))
    soundfile.write(tmp_path / "tone.wav", tone(1.0), RATE)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "tone.wav", "-f", "g722", tmp_path / "tone.g722"]
    subprocess.run(command, check=True)
    decoded = sound.decode(tmp_path / "tone.g722")
    original = tone(1.0)[:15_000]
    delays = (np.corrcoef(decoded[k : k + 15_000], original)[0, 1] for k in range(64))
    assert max(delays) > 0.95


def test_undecodable_file_is_an_audio_file_error(tmp_path):
    (tmp_path / "noise.wav").write_bytes(b"no audio")
    with pytest.raises(AudioFileError, match=r"noise\.wav cannot be decoded"):
        sound.decode(tmp_path / "noise.wav")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_debian_package_in_the_downloads_folder_is_used(world):
    tree = world.tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = "Package: hold-music\nVersion: 1\nArchitecture: all\nMaintainer: t\nDescription: t\n"
    (tree / "DEBIAN" / "control").write_text(control)
    music = tree / "usr/share/moh/waltz.wav"
    music.parent.mkdir(parents=True)
    soundfile.write(music, tone(2.0), RATE)
    (world.tmp_path / "downloads").mkdir()
    package = world.tmp_path / "downloads" / "hold-music_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", tree, package], check=True, capture_output=True)
    world.origins["moh"] = Origin(
        (Debian("hold-music", "1"),),
        Rebuilt.EXACTLY,
        "",
        folder="usr/share/moh",
        ending=r"\.wav",
        longest_s=1.0,
    )
    world.entries.append(entry("moh", "waltz", rms_db=-9.0))
    assert world.run("--only", "moh") == 0
    assert alike(world.audio("waltz"), tone(1.0))


def test_parts_are_joined_without_a_gap(world):
    place = world.publisher.publish(
        "someone/voices",
        {f"ann/{name}.wav": (tone(0.3, hz), RATE) for name, hz in (("hi", 400), ("bye", 800))},
    )
    world.origins["voices"] = Origin(
        (place,), Rebuilt.EXACTLY, "", way="parts", ending=r"\.wav", longest_s=0.5
    )
    world.entries.append(entry("voices", "ann prompts 1", duration_s=0.5, rms_db=-9.0, parts="bye+hi"))
    assert world.run("--only", "voices") == 0
    joined = np.concatenate([tone(0.3, 800), tone(0.3, 400)])[:8000]
    assert alike(world.audio("ann prompts 1"), joined)


def test_unknown_source_and_missing_out_are_sentences(world, capsys):
    assert world.run("--only", "forests") == 2
    assert "--only forests: no such source. --list names them." in capsys.readouterr().err
    assert prepare.main(["--catalogue", str(world.tmp_path / "catalogue.csv.gz")]) == 2
    assert "--out is missing" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="cannot be read"):
        catalogue.load(world.tmp_path / "nowhere.csv.gz")


def test_list_says_of_every_source_how_it_is_rebuilt(capsys):
    assert prepare.main(["--list"]) == 0
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if any(f" {kind} " in line for kind in Rebuilt)]
    assert len(rows) == len(ORIGINS) + 1
    for source in [*ORIGINS, ROOMS]:
        assert any(source in row for row in rows)


def test_catalogue_knows_every_source_and_keeps_groups_apart():
    entries = catalogue.load()
    assert {each.source for each in entries} == set(ORIGINS)
    split = {}
    for each in entries:
        assert split.setdefault(each.group, each.split) == each.split
    assert all(each.parts for each in entries if each.source == "asterisk_prompts")


def test_catalogue_equals_the_manifest_it_was_taken_from():
    try:
        root = corpus.data_root()
    except ConfigError as error:
        pytest.skip(str(error))
    entries = catalogue.load()
    parts = {each.path: each.parts for each in entries}
    assert catalogue.from_manifest(root / "manifest.csv", parts) == entries
    with (root / "rir.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [{key: line[key] for key in catalogue.ROOM_COLUMNS} for line in catalogue.load_rooms()] == lines


def test_catalogue_is_written_alike_each_time(tmp_path):
    made = [entry("forest", "a,b"), entry("forest", "c")]
    for name in ("one", "two"):
        catalogue.save(made, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert [asdict(each) for each in catalogue.load(tmp_path / "one")] == [asdict(each) for each in made]


def slow_ogg_crc(page):
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
            crc &= 0xFFFFFFFF
    return crc


def test_new_serial_leaves_a_valid_ogg_stream(tmp_path):
    sound.write_opus(tmp_path / "a.opus", sound.quantised(noise(0.5)))
    content = sound.with_serial((tmp_path / "a.opus").read_bytes(), 77)
    first_page = bytearray(content[: 28 + content[27]])
    assert first_page[14:18] == (77).to_bytes(4, "little")
    stored, first_page[22:26] = int.from_bytes(first_page[22:26], "little"), bytes(4)
    assert stored == slow_ogg_crc(first_page)
    (tmp_path / "b.opus").write_bytes(content)
    same = [soundfile.read(tmp_path / name)[0] for name in ("a.opus", "b.opus")]
    np.testing.assert_array_equal(*same)


def test_measured_columns_of_a_clipped_square_and_of_silence():
    square = np.where(np.arange(RATE) % 16 < 8, 32767, -32768).astype(np.int16)
    columns = measure.columns(square)
    assert (columns["duration_s"], columns["rms_db"], columns["peak"], columns["clip_frac"]) == (
        "1.0",
        "-0.0",
        "1.0",
        "1.0",
    )
    assert measure.columns(np.zeros(800, np.int16))["rms_db"] == "-120.0"
    assert measure.rolloff_hz(tone(1.0, 3000.0).astype(float)) == pytest.approx(3000, abs=40)


def test_stretches_end_where_windows_do_not_continue():
    a, b = noise(6.0, seed=7), noise(5.0, seed=8)
    stretches = windows.stitch([a[: 5 * RATE], a[RATE:], b])
    assert [len(each) / RATE for each in stretches] == [6.0, 5.0]
    np.testing.assert_array_equal(stretches[0], a)


@pytest.mark.parametrize("rt60_s", [0.2, 0.35])
def test_room_decays_in_its_reverberation_time(rt60_s):
    box = rooms.Shoebox((3.4, 2.9, 2.5), rt60_s, 1.6)
    wave = rooms.response(box, "nursery").astype(float)
    left = np.cumsum((wave**2)[::-1])[::-1]
    level_db = 10 * np.log10(left / left[0])
    at_5, at_25 = (int(np.argmax(level_db < -db)) for db in (5, 25))
    assert (at_25 - at_5) / RATE * 3 == pytest.approx(rt60_s, rel=0.15)


def test_direct_path_arrives_after_distance_over_the_speed_of_sound():
    box = rooms.Shoebox((4.0, 3.5, 2.5), 0.2, 2.0)
    wave = np.abs(rooms.response(box, "nursery"))
    assert int(np.argmax(wave > 0.5 * wave.max())) == pytest.approx(2.0 / 343.0 * RATE, abs=1.5)


def test_images_of_a_cube_are_those_solved_by_hand():
    box = rooms.Shoebox((2.0, 2.0, 2.0), 0.02, 0.5)
    source, microphone = np.array([0.5, 1.0, 1.0]), np.array([1.0, 1.0, 1.0])
    heard = rooms.images(box, source, microphone)
    found = {(round(float(d), 3), int(n)) for d, n in zip(heard.distance_m, heard.reflections, strict=True)}
    # direct; the near wall at x = 0, then the far one at x = 2; side walls, floor and ceiling
    assert {(0.5, 0), (1.5, 1), (2.5, 1), (2.062, 1)} <= found


def test_equal_names_give_equal_rooms_and_places_are_as_far_apart_as_asked():
    box = rooms.Shoebox((3.0, 2.6, 2.4), 0.2, 1.2)
    source, microphone = rooms.positions(box, "a")
    assert np.linalg.norm(source - microphone) == pytest.approx(1.2)
    np.testing.assert_array_equal(rooms.response(box, "a"), rooms.response(box, "a"))
    assert not np.array_equal(rooms.response(box, "a"), rooms.response(box, "b"))


def test_opinion_is_that_of_the_manifest():
    pytest.importorskip("torch", reason="torch is not installed: make install-train")
    from models.training.sources.opinion import Listener  # noqa: PLC0415

    try:
        root, pretrained = corpus.data_root(), corpus.pretrained_root()
    except ConfigError as error:
        pytest.skip(str(error))
    listener = Listener(pretrained)
    with (root / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] == "cry" and row["split"] == "train"][:3]
    for row in rows:
        said = listener.columns(corpus.read_audio(root / row["path"]))
        assert float(said["mn04_cry"]) == pytest.approx(float(row["mn04_cry"]), abs=0.02)
