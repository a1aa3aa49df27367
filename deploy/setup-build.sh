#!/bin/sh
# Installs what building and testing Cairn needs beyond Rust, gcc, make and Python, from Debian's own archive and only
# what is missing. Says what it does; does nothing when nothing is missing.
#
#   deploy/setup-build.sh build     what a build needs
#   deploy/setup-build.sh test      also what the tests need
set -eu

# A package, and the file or command whose presence means that it, or something as good, is already there.
build_packages='
clang:clang
clang:clang++
ccache:ccache
libclang-dev:libclang
'
test_packages='
python3:python3
python3-venv:venv
curl:curl
strace:strace
restic:restic
xfsprogs:mkfs.xfs
e2fsprogs:mkfs.ext4
'

have() {
    case $1 in
    libclang) ls /usr/lib/llvm-*/lib/libclang.so* /usr/lib/*-linux-gnu/libclang-[0-9]*.so* 2>/dev/null | grep -q . ;;
    venv) python3 -c 'import ensurepip, venv' >/dev/null 2>&1 ;;
    mkfs.*) command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

case ${1:-} in
build) wanted=$build_packages ;;
test) wanted="$build_packages $test_packages" ;;
*)
    echo "usage: $0 build|test" >&2
    exit 2
    ;;
esac

missing=
for entry in $wanted; do
    package=${entry%%:*}
    if ! have "${entry#*:}"; then
        case " $missing " in
        *" $package "*) ;;
        *) missing="$missing $package" ;;
        esac
    fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "These are missing, and there is no apt-get to install them with:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "These are missing; install them as root: apt-get install$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
echo "Installing missing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # words are meant to be split
$as_root apt-get update -qq </dev/null
# shellcheck disable=SC2086
$as_root apt-get install -qq -y --no-install-recommends $missing </dev/null
