#!/usr/bin/env bash
# Finds a Chromium for the browser tests, or installs one where that can be done: Debian and its kin, as root, with apt-get.
# It prints the program's path, or says that the browser tests are skipped and why. It never fails `make test`.
set -euo pipefail

find_chromium() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
    command -v "$name" && return 0
  done
  for name in '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' /Applications/Chromium.app/Contents/MacOS/Chromium; do
    if [ -x "$name" ]; then
      printf '%s\n' "$name"
      return 0
    fi
  done
  return 1
}

skip() {
  printf '==> Browser tests are skipped: %s\n' "$1"
  exit 0
}

if path="$(find_chromium)"; then
  printf '==> Browser tests use %s\n' "$path"
  exit 0
fi

command -v apt-get > /dev/null || skip 'no Chromium on this machine, and it has no apt-get to install one with'
[ "$(id -u)" = 0 ] || skip 'no Chromium on this machine, and installing it needs root (apt-get install chromium)'

printf '==> Installing Chromium for the browser tests (apt-get install chromium)\n'
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium; } > "$log" 2>&1; then
  reason="$(tail -n 1 "$log")"
  skip "apt-get could not install Chromium: ${reason:-it gave no reason}"
fi

path="$(find_chromium)" || skip 'apt-get installed no program named chromium'
printf '==> Browser tests use %s\n' "$path"
