# Steps that print what they do and how it ended. Sourced by demo.sh.
steps=0

title() { printf '\n\033[1m%s. %s\033[0m\n' "$1" "$2"; }

# step "WORDS" COMMAND… — runs it; on failure prints its output and ends the demo.
step() {
  local words=$1 output
  shift
  if output=$("$@" 2>&1); then
    [ -z "$words" ] || printf '   ok  %s\n' "$words"
    [ "$1" != shown ] || printf '%s\n' "$output" | sed 's/^/       | /'
    steps=$((steps + 1))
  else
    printf ' FAIL  %s\n       %s\n%s\n' "$words" "$*" "$output"
    exit 1
  fi
}

show() { sed 's/^/       | /' "$1"; }
shown() { "$@"; }

# expect TEXT COMMAND… — the output holds the text (whatever the exit code: refusals are answers too).
expect() { expect_all "$1" -- "${@:2}"; }

expect_all() {
  local wanted=() output
  while [ "$1" != -- ]; do wanted+=("$1"); shift; done
  shift
  output=$("$@" 2>&1) || true
  for text in "${wanted[@]}"; do
    grep -qF -- "$text" <<<"$output" || { printf 'expected %s in:\n%s\n' "$text" "$output"; return 1; }
  done
}

expect_none() {
  local unwanted=$1 output
  shift
  output=$("$@" 2>&1) || { printf '%s\n' "$output"; return 1; }
  ! grep -F -- "$unwanted" <<<"$output"
}
