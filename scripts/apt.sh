#!/usr/bin/env bash
# Install a Debian package when a file is missing and we are root: scripts/apt.sh FILE PACKAGE
set -euo pipefail
file=$1 package=$2
[ -e "$file" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "note: $file is missing; tests that need it are skipped. Install it with: apt-get install $package" >&2
    exit 0
fi
echo "Installing $package ..."
{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$package"; } >/dev/null ||
    echo "note: $package could not be installed; tests that need it are skipped." >&2
