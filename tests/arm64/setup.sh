#!/bin/sh
# Prepare an emulated 64-bit ARM for the tests. Usage: setup.sh SUITE FOLDER
#   SUITE   the Debian below Raspberry Pi OS: bookworm or trixie
#   FOLDER  made or renewed: root/ with that Debian, the locked libraries and our own wheel; wheels/
# DEBIAN_MIRROR names a mirror where that of the system's apt does not serve. PYTHON needs pip and packaging.
set -eu

suite=${1:-}
folder=${2:-}
case "$suite" in
    bookworm) script=bookworm ;;
    trixie) script=sid ;; # an older debootstrap has none of that name; the two are the same
    *) folder="" ;;
esac
[ -n "$folder" ] || { echo "usage: $0 bookworm|trixie FOLDER" >&2; exit 2; }

here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$(dirname "$here")")
python=${PYTHON:-python3}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
root="$folder/root"
program=/opt/cradlewatch

find_mirror() {
    # shellcheck disable=SC2016  # apt's own notation
    known=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | sort -u)
    for address in ${DEBIAN_MIRROR:-$known}; do
        if wget --quiet --spider --tries=2 --timeout=20 "${address%/}/dists/$suite/InRelease"; then
            echo "${address%/}"
            return 0
        fi
    done
    echo "None of the mirrors that apt uses here has Debian $suite: name one in DEBIAN_MIRROR." >&2
    return 1
}

# Unpacked without their scripts: running those under emulation takes a quarter of an hour.
unpack_debian() {
    "$project/deploy/system-packages.sh" arm64
    rm -rf "$root" "$folder/debian"
    mirror=$(find_mirror)
    /usr/sbin/debootstrap --arch=arm64 --variant=minbase --download-only \
        --include=python3,libportaudio2,libasound2-plugins,libgomp1 \
        "$suite" "$folder/debian" "$mirror" "/usr/share/debootstrap/scripts/$script" >"$folder/debootstrap.log"
    for part in bin sbin lib; do
        mkdir -p "$root/usr/$part"
        ln -s "usr/$part" "$root/$part"
    done
    for package in "$folder"/debian/var/cache/apt/archives/*.deb; do
        dpkg --fsys-tarfile "$package" | tar --extract --directory "$root" --keep-directory-symlink
    done
    rm -rf "$folder/debian"
    # What the scripts of the packages would have made.
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\n' >"$root/etc/group"
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
    cp /usr/bin/qemu-aarch64-static "$root/usr/bin/"
    "$here/enter.sh" "$root" /sbin/ldconfig
}

recipe=$(cat "$here/setup.sh" "$here/enter.sh" | sha256sum)
if [ "$recipe" != "$(cat "$folder/recipe" 2>/dev/null)" ]; then
    unpack_debian
    echo "$recipe" >"$folder/recipe"
fi

cd "$project"
"$python" -m tests.arm64.wheels fetch --suite "$suite" --to "$folder/wheels" \
    requirements.lock requirements-full.lock
rm -rf "$folder/own" "$root$program"
"$python" -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation \
    --wheel-dir "$folder/own" .
"$python" -m tests.arm64.wheels install --suite "$suite" --to "$root$program" \
    "$folder"/wheels/*.whl "$folder"/own/*.whl
echo "Debian $suite for arm64 with Cradlewatch stands in $root."
