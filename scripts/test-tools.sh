#!/usr/bin/env bash
# What the tests drive: clients and servers from packages, and a Python of their own.
. "$(dirname "$0")/lib.sh"

# Command line clients, and the servers they talk to.
apt_install curl git wget openssl python3 python3-requests python3-venv openssh-client openssh-server rsync \
  postgresql postgresql-client redis-server redis-tools nodejs golang-go default-jdk-headless gnutls-bin docker-registry \
  nginx-light chromium chromium-driver
# Some builds of Node.js bring it along, and conflict with the package.
command -v npm >/dev/null || apt_install npm

# once DIRECTORY FILE COMMAND… — what FILE lists is to be in DIRECTORY: runs a command unless it did with that very file.
once() {
  local directory=$1 wanted
  wanted=$(sha256sum "$2")
  [ "$(cat "$directory/.installed" 2>/dev/null)" = "$wanted" ] && return 0
  say "installing what $2 lists in $directory"
  mkdir -p "$directory" 2>/dev/null || as_root mkdir -p "$directory"
  [ -w "$directory" ] || as_root chown "$(id -u)" "$directory"
  "${@:3}"
  echo "$wanted" >"$directory/.installed"
}

# Sandboxes' workloads run as other users and must be able to read it, wherever this repository lies.
python=${OPENSHELL_TEST_PYTHON:-/opt/openshell-tests/python}
python_packages() {
  /usr/bin/python3 -m venv "$python"
  "$python/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
}
once "$python" tests/requirements.txt python_packages

# What makes components of JavaScript.
node=${OPENSHELL_TEST_NODE:-/opt/openshell-tests/node}
node_packages() { # DIRECTORY FILE
  cp "$2" "$1/"
  npm install --prefix "$1" --no-audit --no-fund --loglevel=error
}
once "$node" policies-wasm/javascript/package.json node_packages "$node" policies-wasm/javascript/package.json

# The vendors' clients, for the interpreter that sandboxes have.
clients=$target/inference-clients
version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
client_packages() {
  "$python/bin/pip" install --quiet --disable-pip-version-check --no-compile --upgrade --only-binary=:all: \
    --python-version "$version" --target "$clients/python-$version" -r tests/clients/requirements.txt
}
once "$clients/python-$version" tests/clients/requirements.txt client_packages
once "$clients/node" tests/clients/package.json node_packages "$clients/node" tests/clients/package.json
