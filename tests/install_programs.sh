#!/usr/bin/env bash
# Finds Chromium (browser tests) and PgBouncer (pooler tests), or installs them where that can be done: Debian and its kin, as
# root, with apt-get. It prints each program's path, or says which tests are skipped and why. It never fails `make test`.
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

find_pgbouncer() {
  PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v pgbouncer
}

# install NAME PACKAGE TESTS: tries apt-get, and says why the tests are skipped if that fails.
install() {
  local name="$1" package="$2" tests="$3" log
  if ! command -v apt-get > /dev/null; then
    printf '==> %s are skipped: no %s on this machine, and it has no apt-get to install one with\n' "$tests" "$name"
    return 0
  fi
  if [ "$(id -u)" != 0 ]; then
    printf '==> %s are skipped: no %s on this machine, and installing it needs root (apt-get install %s)\n' "$tests" "$name" "$package"
    return 0
  fi
  printf '==> Installing %s for the tests (apt-get install %s)\n' "$name" "$package"
  log="$(mktemp)"
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$package"; } > "$log" 2>&1; then
    printf '==> %s are skipped: apt-get could not install %s: %s\n' "$tests" "$name" "$(tail -n 1 "$log")"
  fi
  rm -f "$log"
}

find_chromium > /dev/null || install Chromium chromium 'Browser tests'
if path="$(find_chromium)"; then printf '==> Browser tests use %s\n' "$path"; fi
find_pgbouncer > /dev/null || install PgBouncer pgbouncer 'Pooler tests'
if path="$(find_pgbouncer)"; then printf '==> Pooler tests use %s\n' "$path"; fi
