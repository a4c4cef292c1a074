#!/usr/bin/env bash
# Installs what the outside-in tests drive: mail clients, Postfix, tmux, pytest, Chromium and what steers it. `install.sh bench`
# installs the peers of the benchmarks, too. Debian; root or sudo; may be run again. No service is started, and nothing that is
# already configured is touched.
set -euo pipefail

packages=(python3 python3-pytest python3-pytest-xdist curl swaks msmtp isync fetchmail mutt tmux offlineimap3 getmail6 postfix
          fail2ban gcc libc6-dev procps e2fsprogs util-linux iproute2 libnet-ssleay-perl libio-socket-ssl-perl
          chromium python3-pip python3-grpcio python3-protobuf protobuf-compiler protobuf-compiler-grpc)
# Peers, and what samples where the time goes.
peers=(dovecot-imapd dovecot-pop3d dovecot-lmtpd linux-perf)
[ "${1:-test}" = bench ] && packages+=("${peers[@]}")
# What steers the browser, and what looks for barriers in its pages. They stand beside the build, for Debian's Python alone.
steering=(playwright==1.65.2 axe-playwright-python==0.1.8)
steering_dir=${HIKYAKU_BROWSER_TOOLS:-$HOME/.cache/hikyaku/browser}

install_steering() {
    [ "$(cat "$steering_dir/installed" 2>/dev/null)" = "${steering[*]}" ] && return
    echo "tests: installing ${steering[*]}"
    rm -rf "$steering_dir"
    /usr/bin/python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-warn-script-location \
        --target "$steering_dir" "${steering[@]}" || { echo "tests: pip could not install: ${steering[*]}" >&2; exit 1; }
    echo "${steering[*]}" >"$steering_dir/installed"
}

is_there() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

had_dovecot=no
is_there dovecot-core && had_dovecot=yes
missing=()
for p in "${packages[@]}"; do
    is_there "$p" || missing+=("$p")
done
if [ ${#missing[@]} -eq 0 ]; then
    install_steering
    echo "tests: all packages are there"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "tests: this is not Debian; install these by hand: ${missing[*]}" >&2
    exit 1
fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "tests: root or sudo is needed to install: ${missing[*]}" >&2; exit 1; }
    sudo=(sudo)
fi

# While packages are unpacked, policy-rc.d keeps their services from starting.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
    trap '"${sudo[@]}" rm -f "$policy"' EXIT
fi
echo "postfix postfix/main_mailer_type select No configuration" | "${sudo[@]}" debconf-set-selections
echo "tests: installing ${missing[*]}"
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    >/dev/null || { echo "tests: apt-get could not install: ${missing[*]}" >&2; exit 1; }
# Debian would start it with the machine. One that was there before is left as it is.
if [ "$had_dovecot" = no ] && is_there dovecot-core && command -v systemctl >/dev/null; then
    "${sudo[@]}" systemctl disable --quiet dovecot 2>/dev/null || true
fi
install_steering
echo "tests: installed"
