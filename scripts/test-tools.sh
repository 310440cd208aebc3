#!/usr/bin/env bash
# What the tests drive: clients and servers from packages, and a Python of their own.
. "$(dirname "$0")/lib.sh"

# Command line clients, and the servers they talk to.
apt_install curl git wget openssl python3 python3-requests python3-venv openssh-client openssh-server rsync \
  postgresql postgresql-client redis-server redis-tools nodejs golang-go default-jdk-headless gnutls-bin docker-registry \
  nginx-light chromium chromium-driver
# Some builds of Node.js bring it along, and conflict with the package.
command -v npm >/dev/null || apt_install npm

# Sandboxes' workloads run as other users and must be able to read it, wherever this repository lies.
python=${OPENSHELL_TEST_PYTHON:-/opt/openshell-tests/python}
wanted=$(sha256sum tests/requirements.txt)
if [ "$(cat "$python/.installed" 2>/dev/null)" != "$wanted" ]; then
  say "installing the tests' Python packages in $python"
  as_root mkdir -p "$python"
  as_root chown "$(id -u)" "$python"
  /usr/bin/python3 -m venv "$python"
  "$python/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
  echo "$wanted" >"$python/.installed"
fi

# What makes components of JavaScript.
node=${OPENSHELL_TEST_NODE:-/opt/openshell-tests/node}
wanted=$(sha256sum policies-wasm/javascript/package.json)
if [ "$(cat "$node/.installed" 2>/dev/null)" != "$wanted" ]; then
  say "installing componentize-js in $node"
  as_root mkdir -p "$node"
  as_root chown "$(id -u)" "$node"
  cp policies-wasm/javascript/package.json "$node/"
  npm install --prefix "$node" --no-audit --no-fund --loglevel=error
  echo "$wanted" >"$node/.installed"
fi
