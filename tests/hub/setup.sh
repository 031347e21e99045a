#!/bin/sh
# Install the real Home Assistant for the tests. Usage: setup.sh find | setup.sh FOLDER
#   find    print the Python that would run it; exit 3 and say why where there is none
#   FOLDER  make or renew an environment there: Home Assistant and what its integrations need. When all of it
#           stands there, so does a file named complete
set -eu

version="2026.2.3"
# Home Assistant asks for 3.13.2 but also runs on 3.13.0; the tests tell it so when they start it.
oldest="3, 13, 0"
integrations="api automation frontend history http logbook lovelace mqtt recorder rest_command"

here=$(dirname "$0")

find_python() {
    for candidate in "${HUB_PYTHON:-}" python3.13 python3.14 python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[3-9].*/bin/python3; do
        # A name on PATH may be pyenv's, for a version that is not switched on: only a run tells.
        if [ -n "$candidate" ] &&
            "$candidate" -c "import sys, venv; sys.exit(sys.version_info < ($oldest))" 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    echo "The tests with the real Home Assistant need Python 3.13 or newer: there is none on PATH or in pyenv." \
        "Install one (Debian 13: apt install python3-venv python3-dev; pyenv install 3.13) or name it in HUB_PYTHON." >&2
    return 3
}

case "${1:-}" in
    find) find_python; exit ;;
    "" | -*) echo "usage: $0 find | $0 FOLDER" >&2; exit 2 ;;
esac
folder=$1
python=$(find_python)
mkdir -p "$folder"
rm -f "$folder/complete"

# Some of its libraries have no wheel for every Python. Another Python than Debian's brings its headers along.
lacks_headers='import pathlib, sysconfig; assert not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists()'
case "$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')" in
    /usr/bin/*) if "$python" -c "$lacks_headers" 2>/dev/null; then "$here/../../deploy/system-packages.sh" headers; fi ;;
esac

# pip would take minutes to resolve what uv resolves in seconds.
uv=$(command -v uv || true)
if [ -z "$uv" ] || ! "$uv" --version >/dev/null 2>&1; then
    "$python" -m venv "$folder-uv"
    "$folder-uv/bin/pip" install --quiet --disable-pip-version-check uv
    uv="$folder-uv/bin/uv"
fi

# What is older than Home Assistant wants has to be told to uv as what it wants.
claimed=$("$python" -c 'import sys; print("--python-version=3.13.2" if sys.version_info < (3, 13, 2) else "")')

install() {
    # shellcheck disable=SC2086  # empty or one option
    "$uv" pip install --quiet --python "$folder/bin/python" $claimed "$@"
}

if ! "$folder/bin/python" -c '' 2>/dev/null; then
    "$uv" venv --quiet --clear --python "$python" "$folder"
fi
install "homeassistant==$version"
packages=$("$folder/bin/python" -c 'import homeassistant; print(homeassistant.__path__[0])')
# shellcheck disable=SC2086  # the list is meant to split
"$folder/bin/python" "$here/requirements.py" $integrations >"$folder/integrations.txt"
install --constraints "$packages/package_constraints.txt" --requirements "$folder/integrations.txt"
echo "$version" >"$folder/complete"
echo "Home Assistant $version stands in $folder."
