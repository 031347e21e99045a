#!/bin/sh
# Run a shell command in a Debian of its own. Usage: enter.sh ROOT USER COMMAND, as root
#   USER  one of its users, freshly logged in: a home, a runtime folder, and of this environment only how to reach
#         an index. "su" is root as `su` without `-` makes one: with the environment of the user parent.
# The network is this machine's. Mounts and processes live and end with the command; nothing else changes here.
set -eu

if [ "$1" != --inside ]; then
    exec unshare --mount --ipc --pid --fork --kill-child=KILL "$0" --inside "$@"
fi
root=$(realpath "$2")
user=$3

mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount --bind "$root/dev/pts/ptmx" "$root/dev/ptmx"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
printf '%s\n' "$4" >"$root/run/command"
# No mere chroot: in one, nobody may make a user namespace, as tests do to have no network.
cd "$root"
pivot_root . mnt
umount --lazy mnt

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
kept=XDG_RUNTIME_DIR,PIP_INDEX_URL,PIP_EXTRA_INDEX_URL,PIP_TRUSTED_HOST,PIP_DEFAULT_TIMEOUT,UV_INDEX_URL
kept=$kept,UV_DEFAULT_INDEX,SSL_CERT_FILE,http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY
login=$user
command="sh /run/command"
if [ "$user" = su ]; then
    login=parent
    command="sudo --preserve-env su root --command '$command'"
fi
# What systemd makes for a login where it runs.
XDG_RUNTIME_DIR=/run/user/$(id -u "$login")
export PATH XDG_RUNTIME_DIR
mkdir -p /run/lock "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
chown "$login:" "$XDG_RUNTIME_DIR"
# This shell stays: the first process of a namespace has to reap the orphans that tests make.
runuser --login --whitelist-environment="$kept" "$login" --command "$command"
exit
