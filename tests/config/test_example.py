"""The example file is made from the models, is up to date, and loads."""

import json
import re
import tomllib
from pathlib import Path

from monitor.config import Config, fields, load_config
from monitor.config.example import example, json_schema

SHIPPED = Path(__file__).parents[2] / "deploy" / "config" / "cradlewatch.example.toml"


def test_the_shipped_file_is_what_the_models_say():
    assert SHIPPED.read_text(encoding="utf-8") == example(), (
        "run `cradlewatch config --example > deploy/config/cradlewatch.example.toml`"
    )


def test_the_shipped_file_loads_as_the_defaults():
    loaded = load_config(SHIPPED, environ={})
    assert loaded.config == Config()


def test_every_key_with_its_hash_removed_loads(tmp_path):
    open_text = re.sub(r"^#(?=\w+ = )", "", example(), flags=re.MULTILINE)
    given = {f"{section}.{name}" for section, table in tomllib.loads(open_text).items() for name in table}
    assert given == set(fields()) - {"mqtt.password"}
    # the examples of TLS need TLS, that of the password its file
    open_text = open_text.replace("tls = false", "tls = true")
    (tmp_path / "mqtt-password").write_text("hush")
    path = tmp_path / "cradlewatch.toml"
    path.write_text(open_text)
    loaded = load_config(path, environ={})
    assert loaded.config.mqtt.host == "homeassistant.local"
    assert all(origin.startswith("file") for origin in loaded.origins.values())


def test_every_key_has_help_and_its_default_is_allowed():
    for key, field in fields().items():
        assert field.description, key
        assert field.description.endswith("."), key


def test_the_schema_is_json_and_knows_every_key():
    schema = json.loads(json_schema())
    for key in fields():
        section, name = key.split(".")
        reference = (
            schema["properties"][section].get("$ref") or schema["properties"][section]["allOf"][0]["$ref"]
        )
        assert name in schema["$defs"][reference.rsplit("/", 1)[1]]["properties"]
