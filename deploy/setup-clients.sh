#!/bin/sh
# Makes the environment with the clients that the tests drive Cairn with, in the folder given: a Python environment from
# tests/requirements.txt and, where there is npm, node_modules from tests/clients/node. Does nothing when that has been
# done and the lists have not changed. What cannot be installed is told; its tests are skipped.
set -eu
venv=$1
tests=$(dirname "$0")/../tests
requirements=$tests/requirements.txt
stamp=$venv/requirements.txt
lock=$tests/clients/node/package-lock.json
node=$venv/node

python_is_ready() { [ -x "$venv/bin/python" ] && cmp -s "$requirements" "$stamp"; }
node_is_ready() { ! command -v npm >/dev/null 2>&1 || cmp -s "$lock" "$node/installed.json"; }
pip_install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" </dev/null; }

if python_is_ready && node_is_ready; then
    exit 0
fi

# Two runs at once take turns.
mkdir -p "$(dirname "$venv")"
exec 9>"$venv.lock"
flock 9

if ! python_is_ready; then
    echo "Installing the test clients into $venv"
    "$venv/bin/python" -c 'import pip' >/dev/null 2>&1 || python3 -m venv --clear "$venv"
    rm -f "$stamp"
    if pip_install --requirement "$requirements"; then
        cp "$requirements" "$stamp"
    else
        # There may be no package of one of them for this machine. There is no stamp then: the next run tries again.
        sed 's/#.*//; /^ *$/d' "$requirements" | while read -r requirement; do
            pip_install "$requirement" || echo "Not installed: $requirement"
        done
    fi
fi
if ! node_is_ready; then
    echo "Installing the JavaScript test client into $node"
    mkdir -p "$node"
    rm -f "$node/installed.json"
    cp "$tests/clients/node/package.json" "$lock" "$node"
    if npm ci --prefix "$node" --silent --no-audit --no-fund --ignore-scripts </dev/null; then
        cp "$lock" "$node/installed.json"
    else
        echo "Not installed: the JavaScript test client"
    fi
fi
