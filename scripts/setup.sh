#!/bin/sh
# Makes .venv and installs Tercet into it. Runs again only when pyproject.toml or constraints.txt changed.
# Usage: scripts/setup.sh run|use|all|dev
# run: one market in completions. use: that, and agents. all: every competition, torch among them. dev: the same with the tools for working on it.
set -eu

cd "$(dirname "$0")/.."
what=${1:-run}
venv=${VENV:-.venv}
stamp="$venv/.installed-$what"

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

find_python() {
    for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    die "no Python 3.11 or newer found. Install one, or name it: make PYTHON=/path/to/python3 ..."
}

make_venv() {
    python=$(find_python)
    say "making $venv with $($python --version)"
    if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
        rm -rf "$venv"
        # Debian keeps venv in a package of its own.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "installing Debian's python3-venv"
            apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
        else
            die "this Python has no venv module. Install it as root: apt-get install python3-venv"
        fi
        "$python" -m venv "$venv"
    fi
}

[ -x "$venv/bin/python" ] || make_venv
if [ -e "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ] && [ ! constraints.txt -nt "$stamp" ] && "$venv/bin/tercet" --version >/dev/null 2>&1; then
    exit 0
fi
say "installing Tercet ($what); a minute or two the first time"
pip="$venv/bin/python -m pip --disable-pip-version-check"
$pip install -q --upgrade 'pip>=25.1'
case $what in
    dev) $pip install -q -c constraints.txt -e '.[all]' --group dev ;;
    all) $pip install -q -c constraints.txt -e '.[all]' ;;
    use) $pip install -q -c constraints.txt -e '.[demo,coding,swarm]' ;;
    run) $pip install -q -c constraints.txt -e '.[demo]' ;;
    *) die "there is no kind of installation called '$what', only run, use, all and dev" ;;
esac
touch "$stamp"
say "installed"
