#!/bin/sh
# Install the Debian packages that are missing. Usage: system-packages.sh run|test|faults|headers|hub|arm64|deb|fresh
#   run   what the service needs: PortAudio, and Python's venv module
#   test  what the suite needs besides: a broker, a sound daemon as the virtual microphone, a judge of the unit
#   faults  what the stage with the faults needs besides: disks of more kinds
#   headers  what a Python library without a wheel is built with: Python's headers, and a compiler
#   hub   what the stage with the real Home Assistant needs besides: a browser for its pages
#   arm64 what the stage on an emulated 64-bit ARM needs besides: the emulator, and who fetches its Debian
#   deb   what the stage with the Debian package needs besides: who makes a clean Debian and boots it
#   fresh  what the stage in clean Debians needs: who makes them
set -eu

case "${1:-}" in
    run) wanted="libportaudio2" ;;
    test) wanted="mosquitto mosquitto-clients libasound2-plugins alsa-utils pulseaudio pulseaudio-utils gcc libc6-dev e2fsprogs util-linux systemd" ;;
    faults) wanted="fuse2fs dosfstools btrfs-progs" ;;
    headers) wanted="python3-dev gcc libc6-dev" ;;
    hub) wanted="chromium fonts-dejavu-core" ;;
    arm64) wanted="qemu-user-static debootstrap debian-archive-keyring" ;;
    deb) wanted="mmdebstrap systemd-container util-linux lintian" ;;
    fresh) wanted="debootstrap debian-archive-keyring util-linux" ;;
    *) echo "usage: $0 run|test|faults|headers|hub|arm64|deb|fresh" >&2; exit 2 ;;
esac
# There it comes in a wheel.
[ "$1" != test ] || [ "$(uname -m)" = x86_64 ] || wanted="$wanted shellcheck"
if [ "$1" = run ] && ! "${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null; then
    wanted="$wanted python3-venv"
fi

missing=""
for package in $wanted; do
    if ! dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Missing system packages:$missing. This system has no apt-get: install them by hand." >&2
    exit 1
fi
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
echo "Installing system packages:$missing"
$sudo apt-get update -qq
# shellcheck disable=SC2086  # the list is meant to split
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null

# Debian starts a freshly installed broker; the suite starts its own, and nobody asked for this one.
case "$missing" in
    *" mosquitto"*)
        if [ -d /run/systemd/system ]; then
            $sudo systemctl disable --now --quiet mosquitto
            echo "Mosquitto was installed for the tests; its system service is switched off."
        fi
        ;;
esac
