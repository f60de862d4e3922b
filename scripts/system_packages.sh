#!/bin/sh
# Installs the Debian packages that a step needs, if their commands are missing.
# Usage: scripts/system_packages.sh COMMAND=PACKAGE ...    for instance chromium=chromium npm=npm
set -eu

missing=""
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    printf '\033[1m==>\033[0m installing Debian packages:%s\n' "$missing" >&2
    apt-get update -qq
    # shellcheck disable=SC2086 -- a list of package names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    printf 'These tests need Debian packages:%s. Install them as root: apt-get install%s\n' "$missing" "$missing" >&2
    exit 1
fi
