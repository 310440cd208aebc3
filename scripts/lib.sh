# Shared by the scripts: where things are, and how to say things. Sourced, never run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
dist=$target/dist

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    die "installing packages needs root" "run as root, or install: $*"
  fi
}

# apt_install PACKAGE… — installs those that are missing.
apt_install() {
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null || die "missing packages: ${missing[*]}" "install them with your system's package manager"
  say "installing ${missing[*]}"
  [ -n "${apt_updated:-}" ] || { as_root apt-get update -qq; apt_updated=1; }
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Which cargo builds the workspace: rustup's if recent enough, else Debian's packages by full path.
choose_cargo() {
  local minimum=1.95
  for candidate in "$(command -v cargo || true)" /usr/bin/cargo; do
    [ -x "$candidate" ] || continue
    local found
    found=$("$candidate" --version 2>/dev/null | awk '{print $2}') || continue
    [ -n "$found" ] || continue
    if [ "$(printf '%s\n%s\n' "$minimum" "$found" | sort -V | head -1)" = "$minimum" ]; then
      cargo=$candidate
      # Debian's cargo must find Debian's rustc even where an older one stands first in PATH.
      [ "$candidate" = /usr/bin/cargo ] && export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
      return 0
    fi
  done
  return 1
}

# One configuration for everything that is built: static binaries, in a folder of the host's own triple.
prepare_cargo() {
  choose_cargo || die "no Rust 1.95 or newer" "run: make setup"
  host=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p')
  export CARGO_BUILD_TARGET=$host RUSTFLAGS="-C target-feature=+crt-static"
}
