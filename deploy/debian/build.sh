#!/bin/sh
# Build dist/cradlewatch_VERSION_ARCH.deb. Usage: deploy/debian/build.sh [folder for the result]
#
# The package holds a ready virtual environment under /usr/lib/cradlewatch, made from the hashed lock:
# nothing is downloaded or compiled where it is installed, dpkg knows every file (`dpkg --verify`), and
# removing it leaves nothing. The price: it fits one architecture and one minor version of Python, so
# build it on the distribution it is for. PYTHON names the interpreter whose version that is.
set -eu
cd "$(dirname "$0")/../.."

python=${PYTHON:-.venv/bin/python}
out=${1:-dist}
version=$("$python" -c 'import monitor; print(monitor.__version__)')
minor=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
after=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1] + 1}")')
architecture=$(dpkg --print-architecture)
# The same sources give the same package, byte for byte.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree="$work/tree"
home="$tree/usr/lib/cradlewatch"
packages="$home/lib/python$minor/site-packages"
doc="$tree/usr/share/doc/cradlewatch"
umask 022
mkdir -p "$home/bin" "$packages" "$doc/examples" "$tree/usr/bin" "$tree/DEBIAN" "$out"

# --- the environment --------------------------------------------------------------------------------
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip wheel --no-deps --no-build-isolation --wheel-dir "$work" .
pip install --no-compile --only-binary=:all: --require-hashes --target "$packages" -r requirements-full.lock
pip install --no-compile --no-deps --no-index --target "$packages" "$work"/cradlewatch-*.whl
# Commands of the libraries, made for the interpreter that built them.
rm -rf "${packages:?}/bin" "$packages"/*.dist-info/direct_url.json
# Tests of the libraries: a tenth of the package, of no use to a monitor.
find "$packages" -type d -name tests -path '*/numpy/*' -prune -exec rm -rf {} +
# Python writes no .pyc into a folder of root; without them each start would compile anew. By content
# and not by time, so that they are the same in every build.
"$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$tree" "$packages"
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' "$minor" >"$home/pyvenv.cfg"
ln -s "../../../bin/python$minor" "$home/bin/python"
cat >"$home/bin/cradlewatch" <<'EOF'
#!/usr/lib/cradlewatch/bin/python
import sys

from monitor.cli import main

sys.exit(main())
EOF
chmod 0755 "$home/bin/cradlewatch"
ln -s ../lib/cradlewatch/bin/cradlewatch "$tree/usr/bin/cradlewatch"

# --- unit, documents, configuration -----------------------------------------------------------------
install -D -m 0644 systemd/cradlewatch.service "$tree/lib/systemd/system/cradlewatch.service"
# Built on the distribution it is for, whose systemd says what it understands.
if [ "$(systemctl --version 2>/dev/null | awk 'NR == 1 { print int($2) }')" -ge 254 ] 2>/dev/null; then
    install -D -m 0644 systemd/restart-steps.conf \
        "$tree/lib/systemd/system/cradlewatch.service.d/restart-steps.conf"
fi
mkdir -p "$tree/usr/share/man/man1"
sed -e "s/@VERSION@/$version/" -e "s/@DATE@/$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%d)/" \
    deploy/debian/cradlewatch.1 | gzip -9n >"$tree/usr/share/man/man1/cradlewatch.1.gz"
install -m 0644 README.md SECURITY.md PRIVACY.md "$doc"
install -m 0644 deploy/debian/copyright "$doc/copyright"
install -m 0644 systemd/credentials-encrypted.conf deploy/config/cradlewatch.example.toml "$doc/examples"
printf 'cradlewatch (%s) stable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' \
    "$version" "$(sed -n 's/^Maintainer: //p' deploy/debian/control)" \
    "$(date -R -u -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
gzip -9nc CHANGELOG.md >"$doc/CHANGELOG.md.gz"

# --- what dpkg has to know --------------------------------------------------------------------------
size=$(du -sk --exclude=DEBIAN "$tree" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" \
    -e "s/@PYTHON@/$minor/g" -e "s/@PYTHON_AFTER@/$after/" deploy/debian/control >"$tree/DEBIAN/control"
for script in postinst prerm postrm; do
    install -m 0755 "deploy/debian/$script" "$tree/DEBIAN/$script"
done
(cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) \
    >"$tree/DEBIAN/md5sums"
find "$tree" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

deb="$out/cradlewatch_${version}_$architecture.deb"
dpkg-deb --root-owner-group -Zxz -z2 --threads-max=2 --build "$tree" "$deb" >/dev/null
echo "$deb"
