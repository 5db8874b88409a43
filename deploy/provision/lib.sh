# For the scripts beside this one: what they share. Sourced, not run.
# shellcheck shell=bash

say() { printf '==> %s: %s\n' "${0##*/}" "$*" >&2; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Every named variable must be set: need NODE_NAME ETCD_ENDPOINTS
need() {
  local name
  for name in "$@"; do
    [ -n "${!name:-}" ] || die "$name: not set; the head of ${0##*/} says what it is"
  done
}

# Installs those Debian packages that are not there. Offline it works if all are.
packages() {
  local name missing=()
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# put FILE [MODE]: what comes on standard input becomes the file, whole or not at all.
# Fails with status 1 if the file was so already: put … && systemctl restart …
put() {
  local new=$1.new
  mkdir -p "$(dirname "$1")"
  cat > "$new"
  chmod "${2:-644}" "$new"
  if cmp -s "$new" "$1"; then
    rm "$new"
    return 1
  fi
  say "writing $1"
  mv "$new" "$1"
}

# wait_for SECONDS WHAT COMMAND…: until the command succeeds.
wait_for() {
  local limit=$1 what=$2 end=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || die "$what: not there after $limit s; journalctl -b says why"
    sleep 1
  done
}
