#!/bin/sh
# Installs the release binary as a systemd service: user, folders, configuration (kept if it exists), unit. Run it as root
# after `make build`. It does not start the service.
set -eu
cd "$(dirname "$0")/.."
binary=${CARGO_TARGET_DIR:-target}/release/cairn

if [ "$(id -u)" -ne 0 ]; then
    echo "Run this as root." >&2
    exit 1
fi
if [ ! -x "$binary" ]; then
    echo "There is no $binary: run make build first." >&2
    exit 1
fi
if ! getent passwd cairn >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/cairn --no-create-home --shell /usr/sbin/nologin cairn
fi
install -D -m 0755 "$binary" /usr/local/bin/cairn
install -d -m 0750 -o root -g cairn /etc/cairn
if [ ! -e /etc/cairn/cairn.toml ]; then
    install -m 0640 -o root -g cairn deploy/cairn.toml /etc/cairn/cairn.toml
fi
install -D -m 0644 deploy/cairn.service /etc/systemd/system/cairn.service
echo "Installed. Next: put CAIRN_ROOT_ACCESS_KEY and CAIRN_ROOT_SECRET_KEY into /etc/cairn/cairn.env (mode 0600), then:"
# As sd_booted(3) finds out; in a container or a chroot there is nobody to reload.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    echo "  systemctl enable --now cairn"
else
    echo "systemd is not running here, so the service cannot be started here. Where it runs, with these files:"
    echo "  systemctl enable --now cairn"
    echo "Without it, as root or as the user cairn after 'install -d -m 0700 -o cairn -g cairn /var/lib/cairn':"
    echo "  cairn serve --config /etc/cairn/cairn.toml"
fi
