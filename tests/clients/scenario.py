"""What the scenarios share: the endpoint, a way to run programs, and the choice of the function to run."""

import hashlib
import importlib
import os
import random
import shutil
import subprocess
import sys

ENDPOINT = sys.argv[2] if len(sys.argv) > 2 else ""
MIB = 1024 * 1024

# As `SKIPPED` in tests/tests/clients.rs.
SKIPPED_STATUS = 77
# A client that does not end is ended, so that its test fails and the others go on.
PROGRAM_SECONDS_MAX = 300


def main(functions):
    """Runs the function that the first argument names."""
    functions[sys.argv[1]]()


def skip(reason):
    """Ends the scenario as one that cannot run on this machine."""
    print(reason)
    sys.exit(SKIPPED_STATUS)


def need_program(name):
    """Skips if a program is not installed."""
    if shutil.which(name) is None:
        skip(f"{name} is not installed")


def need_module(name):
    """A Python module; skips if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        skip(f"{name} cannot be imported: {error}")


def run(*command, data=None, check=True):
    """Runs a program and returns its standard output; a failure shows all that it printed."""
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=PROGRAM_SECONDS_MAX)
    if check and done.returncode != 0:
        sys.exit(f"{command} exited with {done.returncode}:\n{done.stdout.decode()}\n{done.stderr.decode()}")
    return done.stdout


def content(seed, size):
    """Bytes that belong to a seed."""
    return random.Random(seed).randbytes(size)


def write_tree(root, sizes):
    """A tree of files with names that are not only ASCII; the same sizes give the same tree."""
    for number, size in enumerate(sizes):
        folder = os.path.join(root, *["plain", "with space", "ümlaut/日本"][number % 3].split("/"))
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"file +%{number}.bin"), "wb") as file:
            file.write(content(number, size))


def read_tree(root):
    """Relative path -> digest of every file below a folder."""
    found = {}
    for folder, _, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, root)] = hashlib.sha256(file.read()).hexdigest()
    return found


def expect_equal(found, expected, what):
    """Fails with both values if they differ."""
    if found != expected:
        sys.exit(f"{what}: found {found!r:.2000}, expected {expected!r:.2000}")


def write_file(path, data):
    """Writes a file and gives its data back."""
    with open(path, "wb") as file:
        file.write(data)
    return data


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def expect_same_bytes(found, expected, what):
    """Like `expect_equal`, without printing the bytes."""
    if found != expected:
        sys.exit(f"{what}: {len(found)} bytes that are not the {len(expected)} expected")
