#!/bin/sh
# Run a program of a foreign Debian under emulation. Usage: enter.sh ROOT PROGRAM [ARGUMENT...]
# QEMU_CPU names the processor. The folder for temporary files is the same inside and outside. Mounts live
# and end with the program; nothing on this system changes.
#
# Child processes of the program are emulated too where the kernel has a binfmt_misc for each user
# namespace (Linux 6.7); elsewhere they fail, and FOREIGN_CHILDREN=required says so beforehand.
set -eu

if [ "${INSIDE_NAMESPACE:-}" != "$$" ]; then
    export INSIDE_NAMESPACE="$$"
    exec unshare --user --map-root-user --mount "$0" "$@"
fi
unset INSIDE_NAMESPACE

root=$1
shift
for folder in /dev /proc "${TMPDIR:-/tmp}"; do
    mkdir -p "$root$folder"
    mount --rbind "$folder" "$root$folder"
done
if mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc 2>/dev/null; then
    cat /usr/lib/binfmt.d/qemu-aarch64.conf >/proc/sys/fs/binfmt_misc/register
elif [ "${FOREIGN_CHILDREN:-}" = required ]; then
    echo "This kernel has one binfmt_misc for all: programs under emulation cannot start others." >&2
    exit 3
fi
exec chroot "$root" /usr/bin/qemu-aarch64-static "$@"
