#!/bin/sh
# Makes the Python environment with the clients that the tests drive Cairn with, in the folder given, from
# tests/requirements.txt. Does nothing when that has been done and the list has not changed.
set -eu
venv=$1
requirements=$(dirname "$0")/../tests/requirements.txt
stamp=$venv/requirements.txt

if [ -f "$stamp" ] && cmp -s "$requirements" "$stamp"; then
    exit 0
fi
echo "Installing the test clients into $venv"
python3 -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements" </dev/null
cp "$requirements" "$stamp"
