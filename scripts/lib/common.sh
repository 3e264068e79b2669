# Shared by the scripts. Sourced, never run. Bash 3.2 and no GNU-only flags, so that macOS runs it as it is.
# shellcheck shell=bash
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT" || exit 1
export PATH="$ROOT/.tools/bin:$PATH"

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "error: $*"
  exit 1
}

# Prints the comment at the head of a script: its help.
usage() { awk 'NR > 1 && /^#/ { sub(/^# ?/, ""); print; next } NR > 1 { exit }' "$1"; }

# at_least HAVE WANT: compares dotted versions.
at_least() {
  local IFS=. i
  # The split into fields is meant.
  # shellcheck disable=SC2206
  local have=($1) want=($2)
  for i in 0 1 2; do
    [ "${have[$i]:-0}" -gt "${want[$i]:-0}" ] && return 0
    [ "${have[$i]:-0}" -lt "${want[$i]:-0}" ] && return 1
  done
  return 0
}

NODE_22_MIN=22.12.0

node_version() { node --version 2>/dev/null | tr -d v; }

# The folder of a Node that wrangler and miniflare accept: the system's, or the one that setup put into .tools.
node_22_dir() {
  if at_least "$(node_version)" "$NODE_22_MIN"; then
    dirname "$(command -v node)"
    return
  fi
  local found
  for found in "$ROOT"/.tools/node/node_modules/node-*/bin/node; do
    [ -x "$found" ] && dirname "$found" && return
  done
  return 1
}
