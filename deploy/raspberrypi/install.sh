#!/bin/sh
# Install Cradlewatch on a Raspberry Pi or any 64-bit Debian-like system, upgrade it, or remove it.
#
#   sudo ./install.sh                 install, or upgrade what is installed; may be repeated at will
#   sudo ./install.sh --uninstall     remove the program; configuration and state stay
#   sudo ./install.sh --purge         remove configuration, secrets and everything kept as well
#
# Options: --wheel FILE   the wheel to install; else dist/cradlewatch-*.whl, else it is built from here
#          --lock FILE    the hashed lock of the libraries; else requirements-full.lock beside the sources
#          --wheels DIR   take the libraries from this folder and ask no package index
#          --root DIR     everything below DIR, no system package, no service: for tests and for a look
#          --yes          ask nothing
#
# Each version lives in an environment of its own under /opt/cradlewatch/versions. An upgrade makes the
# new one beside the old, tries it, and only then turns /opt/cradlewatch/current to it; when the service
# does not come up with it, `current` is turned back. Never touched: /etc/cradlewatch/cradlewatch.toml.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
sources=$(CDPATH='' cd -- "$here/../.." && pwd)
action=install wheel='' lock="$sources/requirements-full.lock" wheels='' root='' yes=no
python=${PYTHON:-python3}

say() { printf '%s\n' "$*"; }
refuse() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case "$1" in
        --uninstall) action=uninstall ;;
        --purge) action=purge ;;
        --upgrade) action=install ;;
        --yes) yes=yes ;;
        --wheel | --lock | --wheels | --root)
            [ $# -ge 2 ] || refuse "$1 needs a value. See the head of this script."
            case "$1" in
                --wheel) wheel=$2 ;;
                --lock) lock=$2 ;;
                --wheels) wheels=$2 ;;
                --root) root=${2%/} ;;
            esac
            shift
            ;;
        -h | --help)
            sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "$0"
            exit 0
            ;;
        *) refuse "There is no option $1. See ./install.sh --help." ;;
    esac
    shift
done

opt="$root/opt/cradlewatch"
etc="$root/etc/cradlewatch"
units="$root/etc/systemd/system"
command="$root/usr/local/bin/cradlewatch"

# Whether a service manager runs to which this root belongs; not so in a container or under --root.
manages() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

# --- what it cannot run on ----------------------------------------------------------------------------

check_system() {
    bits=$(getconf LONG_BIT)
    case "$(uname -m)/$bits" in
        aarch64/64 | x86_64/64) ;;
        *) refuse "This system is $(uname -m) with $bits-bit programs, and the neural networks need a 64-bit one: install Raspberry Pi OS (64-bit)." ;;
    esac
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //')
    [ -n "$glibc" ] || refuse "The C library is not glibc, which the neural networks need: use a Debian-like system."
    at_least "$glibc" 2 28 || refuse "glibc $glibc is too old, 2.28 is needed: install Debian 12, Raspberry Pi OS 12 or newer."
    command -v "$python" >/dev/null || refuse "There is no $python: install Python 3.11 or newer."
    found=$("$python" -c 'import platform; print(platform.python_version())')
    at_least "$found" 3 11 || refuse "Python $found is too old, 3.11 is needed: install Debian 12, Raspberry Pi OS 12 or newer."
    if [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then
        refuse "Only root may install: start it with sudo."
    fi
}

# at_least 2.36 2 28: whether the first two numbers of a version reach the others.
at_least() {
    major=${1%%.*} rest=${1#*.}
    minor=${rest%%[!0-9]*}
    [ "$major" -gt "$2" ] || { [ "$major" -eq "$2" ] && [ "${minor:-0}" -ge "$3" ]; }
}

# --- install and upgrade ------------------------------------------------------------------------------

# The system's pip, or one in an environment beside the versions, made anew when the system's Python changed.
find_pip() {
    installer=$python
    if "$python" -m pip --python "$python" --version >/dev/null 2>&1; then
        return # 22.3 or newer: it can install into another environment
    fi
    installer="$opt/installer/bin/python"
    if ! "$installer" -m pip --version >/dev/null 2>&1; then
        rm -rf "$opt/installer"
        "$python" -m venv "$opt/installer"
    fi
}

pip() { "$installer" -m pip --quiet --disable-pip-version-check "$@"; }

find_wheel() {
    if [ -z "$wheel" ]; then
        built=$(sed -n 's/^__version__.*"\(.*\)"$/\1/p' "$sources/monitor/__init__.py")
        candidate="$sources/dist/cradlewatch-$built-py3-none-any.whl"
        [ ! -e "$candidate" ] || wheel=$candidate
    fi
    if [ -z "$wheel" ]; then
        say "Building the wheel"
        pip wheel --no-deps --wheel-dir "$scratch" "$sources"
        for wheel in "$scratch"/cradlewatch-*.whl; do :; done
    fi
    [ -f "$wheel" ] || refuse "The wheel $wheel does not exist: name another with --wheel."
    [ -f "$lock" ] || refuse "The lock $lock does not exist: name another with --lock."
    # Version and content: the same wheel, lock and Python are the same installation.
    version=$(basename "$wheel" | cut -d- -f2)
    name="$version-$({ cat "$wheel" "$lock"; echo "$found"; } | sha256sum | cut -c1-12)"
}

make_environment() {
    new="$opt/versions/$name"
    if [ -e "$new/.complete" ]; then
        say "Cradlewatch $version is installed already"
        return
    fi
    say "Installing Cradlewatch $version"
    rm -rf "$new" # what an interrupted run may have left
    mkdir -p "$opt/versions"
    "$python" -m venv --without-pip "$new" # what a service does not need, nobody can use against it
    if ! { fill_environment && try_out; }; then
        rm -rf "$new"
        refuse "Cradlewatch $version cannot be used here, see above. What was installed before stays as it is."
    fi
    touch "$new/.complete"
}

fill_environment() {
    set -- --require-hashes --only-binary=:all: -r "$lock"
    [ -z "$wheels" ] || set -- --no-index --find-links "$wheels" "$@"
    pip --python "$new/bin/python" install "$@" &&
        pip --python "$new/bin/python" install --no-deps --no-index "$wheel"
}

# Whether the models answer on this machine as they were released, with this version's libraries. An empty
# configuration: what the user has set is not the new version's fault.
try_out() {
    CRADLEWATCH_CONFIG=/dev/null "$new/bin/cradlewatch" check --only models
}

point_to() {
    ln -sfn "versions/$1" "$opt/current.new"
    mv -T "$opt/current.new" "$opt/current" # at once: there is always a whole version
}

put_files() {
    mkdir -p "$(dirname "$command")" "$etc" "$units"
    ln -sfn "$opt/current/bin/cradlewatch" "$command"
    if [ ! -e "$etc/cradlewatch.toml" ]; then
        "$new/bin/cradlewatch" config --example >"$scratch/example.toml"
        install -m 0644 "$scratch/example.toml" "$etc/cradlewatch.toml"
        say "Made $etc/cradlewatch.toml: say in there whom the monitor tells (mqtt.host for example)"
        say "The broker's password goes to /etc/credstore/cradlewatch.mqtt-password (mode 0600), with"
        say 'password_file = "mqtt-password": the service cannot read files of root.'
    fi
    [ -d "$root/etc/credstore" ] || install -d -m 0700 "$root/etc/credstore"
    install -m 0644 "$sources/systemd/cradlewatch.service" "$units/cradlewatch.service"
    # What this version of systemd understands; an older one would warn at each start.
    systemd=$(systemctl --version 2>/dev/null | awk 'NR == 1 { print int($2) }')
    if [ "${systemd:-0}" -ge 254 ]; then
        install -D -m 0644 "$sources/systemd/restart-steps.conf" \
            "$units/cradlewatch.service.d/restart-steps.conf"
    else
        rm -f "$units/cradlewatch.service.d/restart-steps.conf"
    fi
}

# Start the new version where the service was on; back to the old one when it does not come up.
restart_service() {
    if ! manages; then
        say "No service manager runs here: start it by hand with \`cradlewatch run\`"
        return
    fi
    systemctl daemon-reload
    if ! systemctl is-enabled --quiet cradlewatch.service; then
        say "Next: systemctl enable --now cradlewatch"
        return
    fi
    was_running=$(systemctl is-active cradlewatch.service || true)
    if systemctl restart cradlewatch.service; then
        say "The service runs"
        return
    fi
    # One that did not run before either, for want of a microphone say, tells nothing about the new version.
    if [ "$was_running" = active ] && [ -n "$previous" ] && [ "$previous" != "$name" ]; then
        point_to "$previous"
        systemctl restart cradlewatch.service || true
        rm -rf "$new"
        refuse "The service does not come up with $version (journalctl -u cradlewatch says why): $previous runs again."
    fi
    refuse "The service does not come up: journalctl -u cradlewatch says why."
}

forget_old_versions() {
    for each in "$opt"/versions/*; do
        case "$(basename "$each")" in
            "$name" | "$previous") ;;
            *) rm -rf "$each" ;;
        esac
    done
}

install_or_upgrade() {
    check_system
    [ -n "$root" ] || PYTHON=$python "$sources/deploy/system-packages.sh" run
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    find_pip
    find_wheel
    previous=''
    [ ! -L "$opt/current" ] || previous=$(basename "$(readlink "$opt/current")")
    make_environment
    put_files
    point_to "$name"
    restart_service
    forget_old_versions
}

# --- removal ------------------------------------------------------------------------------------------

uninstall() {
    if [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then
        refuse "Only root may remove it: start it with sudo."
    fi
    if manages && [ -e "$units/cradlewatch.service" ]; then
        systemctl disable --now --quiet cradlewatch.service || true
    fi
    rm -f "$units/cradlewatch.service" "$units/cradlewatch.service.d/restart-steps.conf" "$command"
    rm -rf "$opt"
    if manages; then
        systemctl daemon-reload
    fi
    say "Cradlewatch is removed; $etc and the state stay. --purge removes them too"
}

purge() {
    if [ "$yes" != yes ]; then
        printf 'Delete configuration, secrets and everything kept about the nights? [y/N] '
        read -r answer || answer=''
        case "$answer" in
            y | Y | yes) ;;
            *) refuse "Nothing was deleted." ;;
        esac
    fi
    uninstall
    rm -rf "$etc" "$root/var/lib/private/cradlewatch" "$root/var/lib/cradlewatch" "$units/cradlewatch.service.d"
    rm -f "$root"/etc/credstore/cradlewatch.* "$root"/etc/credstore.encrypted/cradlewatch.*
    say "Everything is deleted"
}

case "$action" in
    install) install_or_upgrade ;;
    uninstall) uninstall ;;
    purge) purge ;;
esac
