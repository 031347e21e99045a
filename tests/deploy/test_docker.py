"""The image's recipe and the compose file, as far as they can be checked without an engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from monitor import __version__
from monitor.config.load import load_config
from tests.programs import shellcheck

ROOT = Path(__file__).parents[2]
APP = ROOT / "deploy" / "homeassistant-app"
RECIPES = {"docker": ROOT / "deploy" / "docker" / "Dockerfile", "app": APP / "Dockerfile"}
COMPOSE = ROOT / "deploy" / "docker" / "compose.yaml"
BUILT = re.compile(r"(dist/)?cradlewatch-\*\.whl")
"""What `make` builds before."""


def instructions(recipe: Path) -> list[tuple[str, str]]:
    """Each instruction with its arguments, continued lines joined."""
    lines = [line for line in recipe.read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def all_of(recipe: Path, name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions(recipe) if instruction == name]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_every_base_has_an_exact_version(recipe):
    [(_, default)] = [argument.split("=", 1) for argument in all_of(recipe, "ARG") if "IMAGE" in argument]
    assert re.fullmatch(r"[a-z/.-]+:\d+\.\d+\.\d+(-[\w.-]+)?", default)
    assert {line.split()[0] for line in all_of(recipe, "FROM")} == {"${PYTHON_IMAGE}"}


@pytest.mark.parametrize(("name", "recipe"), RECIPES.items(), ids=list(RECIPES))
def test_everything_that_is_copied_exists(name, recipe):
    copied = [line.split()[:-1] for line in all_of(recipe, "COPY") if "--from" not in line]
    assert copied
    # `make homeassistant-app` lays the lock beside the app's recipe.
    folders = [ROOT] if name == "docker" else [APP, ROOT]
    for source in (word for words in copied for word in words):
        assert BUILT.fullmatch(source) or any((folder / source).exists() for folder in folders), source


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_shellcheck_finds_nothing_in_the_commands(recipe):
    commands = [*all_of(recipe, "RUN"), *(line.split("CMD ")[1] for line in all_of(recipe, "HEALTHCHECK"))]
    assert len(commands) >= 3
    for command in commands:
        assert shellcheck("--shell=sh", "-", script=command) == ""


def test_the_image_does_not_run_as_root():
    names = [name for name, _ in instructions(RECIPES["docker"])]
    [user] = all_of(RECIPES["docker"], "USER")
    assert int(user.split(":")[0]) > 0
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_no_library_reports_home():
    for recipe in RECIPES.values():
        assert any("ORT_DISABLE_TELEMETRY=1" in line for line in all_of(recipe, "ENV"))


# --- compose ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load(COMPOSE.read_text())


def test_compose_sets_only_keys_that_exist(compose, tmp_path):
    environment = compose["services"]["cradlewatch"]["environment"]
    password = tmp_path / "mqtt-password"
    password.write_text("secret")
    assert environment["CRADLEWATCH_MQTT__PASSWORD_FILE"] == "/run/secrets/mqtt-password"
    environment = environment | {"CRADLEWATCH_MQTT__PASSWORD_FILE": str(password)}
    config = load_config(environ=environment, default_path=tmp_path / "none").config
    assert (config.mqtt.host, config.mqtt.tls, config.device.id) == ("mosquitto", True, "nursery")


def test_compose_runs_this_version(compose):
    assert compose["services"]["cradlewatch"]["image"] == f"cradlewatch:{__version__}"
    assert re.search(r":\d+\.\d+\.\d+$", compose["services"]["mosquitto"]["image"])


@pytest.mark.parametrize("name", ["cradlewatch", "mosquitto"])
def test_each_container_is_locked_in(compose, name):
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)


def test_whatever_is_named_is_declared_or_described(compose):
    services = compose["services"]
    assert set(compose["secrets"]) == set(services["cradlewatch"]["secrets"])
    head = COMPOSE.read_text().partition("name:")[0]
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in compose["volumes"] or f"{source.removeprefix('./').split('/')[0]}/" in head
    # The files that its head tells to copy.
    for source in re.findall(r"from (\S+)", head):
        assert (COMPOSE.parent / source).exists()
    [build] = [service["build"] for service in services.values() if "build" in service]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).resolve() == RECIPES["docker"]
