"""Clean Debians to try the repository in: what debootstrap makes, and what a person has who clones it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
ENTER: Final = Path(__file__).with_name("enter.sh")
SYSTEM_PACKAGES: Final = ROOT / "deploy" / "system-packages.sh"
USER: Final = "parent"
HAD: Final = "ca-certificates,git,make,sudo"
"""What the person has before the first command. All else is the commands' business."""
FOLDER: Final = "cradlewatch"
SCRIPTS: Final = Path("/usr/share/debootstrap/scripts")
APT_WAYS: Final = re.compile(r"Acquire::(https?|Check|Force|Retries)")
AUTHORITIES: Final = Path("usr/local/share/ca-certificates")


class FreshError(Exception):
    """A Debian cannot be made here; the message says why."""


def lacking() -> str:
    """Why no Debian can be made or entered here; empty if one can. Installs debootstrap."""
    if reason := not_to_enter():
        return reason
    done = subprocess.run([SYSTEM_PACKAGES, "fresh"], capture_output=True, text=True, check=False)
    return f"debootstrap cannot be installed: {done.stderr.strip()}" if done.returncode else ""


def not_to_enter() -> str:
    """Why no other system can be entered here; empty if one can."""
    if os.geteuid() != 0:
        return "only root can make a Debian and mount in it"
    tried = ["unshare", "--mount", "--ipc", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    return f"this machine lets nobody mount: {done.stderr.strip()}" if done.returncode else ""


def mirrors() -> list[str]:
    """Where this machine's apt finds Debian; ``DEBIAN_MIRROR`` counts instead."""
    named = os.environ.get("DEBIAN_MIRROR", "").split()
    wanted = ("--format", "$(REPO_URI)", "Created-By: Packages", "Component: main")
    return named or list(dict.fromkeys(_output("apt-get", "indextargets", *wanted).split()))


def base(suite: str, cache: Path) -> Path:
    """The Debian named ``suite`` with nothing of ours in it, made once."""
    made = cache / suite
    if made.exists():
        return made
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = cache / f"{suite}.unfinished"
    said = ["apt names no mirror of Debian here"]
    # An older debootstrap has none of a newer Debian's name; they are the same.
    script = SCRIPTS / suite if (SCRIPTS / suite).exists() else SCRIPTS / "sid"
    for mirror in mirrors():
        shutil.rmtree(unfinished, ignore_errors=True)
        words = ("--variant=minbase", f"--include={HAD}", suite, str(unfinished), mirror, str(script))
        done = subprocess.run(["debootstrap", *words], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            unfinished.rename(made)
            return made
        said = (done.stdout + done.stderr).strip().splitlines()[-1:]
    raise FreshError(f"Debian {suite} cannot be made: {' '.join(said)}. DEBIAN_MIRROR names another mirror.")


def person_in(made: Path, root: Path) -> None:
    """Copy the Debian ``made`` to ``root``, with an ordinary user who may use sudo, and a clone of HEAD."""
    shutil.rmtree(root, ignore_errors=True)
    _output("cp", "--archive", str(made), str(root))
    _reach_packages_as_here(root)
    _output("chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", USER)
    (root / "etc" / "sudoers.d" / USER).write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
    for home in (f"home/{USER}", "root"):
        clone = root / home / FOLDER
        _output("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone))
    _output("chroot", str(root), "chown", "--recursive", f"{USER}:", f"/home/{USER}/{FOLDER}")


def enter(root: Path, user: str, command: str) -> list[str]:
    """The command line that runs a shell command there, in the clone of ``user``."""
    home = "/root" if user == "root" else f"/home/{USER}"
    return [str(ENTER), str(root), user, f"cd {home}/{FOLDER} && {command}"]


def _reach_packages_as_here(root: Path) -> None:
    """The ways to apt's and pip's packages that this machine's administrator has set, and no packages."""
    for file in (Path("etc/resolv.conf"), Path("etc/hosts"), Path("etc/pip.conf")):
        if (Path("/") / file).exists():
            (root / file).unlink(missing_ok=True)
            shutil.copy(Path("/") / file, root / file)
    for folder in (Path("etc/xdg/pip"), AUTHORITIES):
        if (Path("/") / folder).is_dir():
            shutil.copytree(Path("/") / folder, root / folder, dirs_exist_ok=True)
    ways = [line for line in _output("apt-config", "dump").splitlines() if APT_WAYS.match(line)]
    (root / "etc" / "apt" / "apt.conf.d" / "as-outside").write_text("\n".join([*ways, ""]))
    _output("chroot", str(root), "update-ca-certificates")


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FreshError(f"{command[0]}: {done.stderr.strip()[-1000:]}")
    return done.stdout
