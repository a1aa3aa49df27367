#!/bin/sh
# Installs what building and testing Cairn needs beyond Rust, gcc, make and Python, from Debian's own archive and only
# what is missing. Says what it does; does nothing when nothing is missing.
#
#   deploy/setup-build.sh build     what a build needs
#   deploy/setup-build.sh test      also what the tests need, and the clients, without which their tests are skipped
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
faketime:faketime
iproute2:ip
xfsprogs:mkfs.xfs
e2fsprogs:mkfs.ext4
'
client_packages='
restic:restic
rclone:rclone
s3cmd:s3cmd
s3fs:s3fs
duplicity:duplicity
chromium-headless-shell:browser
python3-boto3:debian-boto3
radosgw:radosgw
ceph-mon:ceph-mon
ceph-osd:ceph-osd
'

have() {
    case $1 in
    libclang) ls /usr/lib/llvm-*/lib/libclang.so* /usr/lib/*-linux-gnu/libclang-[0-9]*.so* 2>/dev/null | grep -q . ;;
    venv) python3 -c 'import ensurepip, venv' >/dev/null 2>&1 ;;
    # duplicity runs in Debian's own Python.
    debian-boto3) /usr/bin/python3 -c 'import boto3' >/dev/null 2>&1 ;;
    browser) command -v chromium-headless-shell >/dev/null 2>&1 || command -v chromium >/dev/null 2>&1 ;;
    mkfs.*) command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# The packages of a list that are missing.
missing_of() {
    missing=
    for entry in $1; do
        package=${entry%%:*}
        have "${entry#*:}" || case " $missing " in
        *" $package "*) ;;
        *) missing="$missing $package" ;;
        esac
    done
    echo "$missing"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@" </dev/null
    else
        sudo "$@" </dev/null
    fi
}

# Why nothing can be installed, if so.
obstacle() {
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "there is no apt-get"
    elif [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null 2>&1; then
        echo "this is not root, and there is no sudo"
    fi
}

install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
}

case ${1:-} in
build) needed=$(missing_of "$build_packages") clients= ;;
test) needed=$(missing_of "$build_packages $test_packages") clients=$(missing_of "$client_packages") ;;
*)
    echo "usage: $0 build|test" >&2
    exit 2
    ;;
esac
[ -n "$needed$clients" ] || exit 0

obstacle=$(obstacle)
if [ -n "$obstacle" ]; then
    echo "These Debian packages are missing, and $obstacle:$needed$clients" >&2
    [ -z "$needed" ] || exit 1
    exit 0
fi
echo "Installing missing Debian packages:$needed$clients"
# Without it, what the lists that are here have can be installed nevertheless; and tests are skipped whose clients cannot.
as_root apt-get update -qq || echo "apt-get update has failed; going on with the lists of packages that are here" >&2
# shellcheck disable=SC2086 # words are meant to be split
[ -z "$needed" ] || install $needed
# One client that this release of Debian does not have must not keep the others out.
# shellcheck disable=SC2086
if [ -n "$clients" ] && ! install $clients; then
    for client in $clients; do
        install "$client" || echo "Not installed: $client"
    done
fi
