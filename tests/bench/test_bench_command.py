import argparse
import re

from monitor import bench


def test_prints_every_stage_the_models_and_the_memory(capsys):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    arguments = ["monitor/demo/nursery.flac", "--seconds", "12", "--passes", "1"]
    assert bench.run(parser.parse_args(arguments)) == 0
    printed = capsys.readouterr().out
    for stage in ("bands and floors", "VAD", "log-mel", "gate model", "classifier"):
        assert f"\n{stage}" in printed
    for audio in ("quiet room", "continuous activity", "nursery.flac"):
        assert f"\nwhole pipeline, {audio}" in printed
    assert "\ntogether" in printed
    assert re.search(r"gate model: (int8|float) was chosen: a run takes \d+\.\d+ ms in int8, ", printed)
    assert "MiB" in printed
