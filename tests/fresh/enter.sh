#!/bin/sh
# Run a shell command in a Debian of its own, as root. Usage: enter.sh ROOT USER COMMAND
#   USER   one of its users, logged in: a home, a runtime folder, and no environment but how packages are fetched;
#          "su" is root with the environment of the ordinary user kept, as `su` without `-` leaves it
# BIND="SOURCE TARGET" lets a folder of this machine appear there. Mounts and processes live and end with the
# command; nothing on this system changes. The network is this machine's.
set -eu

if [ "$1" != --inside ]; then
    exec unshare --mount --ipc --pid --fork --kill-child=KILL "$0" --inside "$@"
fi
root=$2
user=$3
command=$4

mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount --bind "$root/dev/pts/ptmx" "$root/dev/ptmx"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
if [ -n "${BIND:-}" ]; then
    mkdir -p "$root${BIND#* }"
    mount --bind "${BIND% *}" "$root${BIND#* }"
fi
cp --dereference --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"

kept=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY
kept=$kept,PIP_INDEX_URL,PIP_EXTRA_INDEX_URL,PIP_TRUSTED_HOST,PIP_DEFAULT_TIMEOUT,UV_INDEX_URL,UV_DEFAULT_INDEX
for entry in $(chroot "$root" getent passwd | grep -E '^(root|parent):' | cut -d: -f1,3); do
    mkdir -p -m 700 "$root/run/user/${entry#*:}"
    chown "${entry#*:}" "$root/run/user/${entry#*:}"
done
