#!/usr/bin/env bash
# docker-engine.sh [images | machine | stop] — a Docker engine for development and tests; prints its DOCKER_HOST.
#
# An engine that answers already is taken as it is. Else one is started by hand, as root, with everything it keeps in a
# directory of its own (ENGINE_DIR), and goes on until `stop`. `images` makes the tests' images there, since none can be
# pulled everywhere:
#
#   openshell-test/busybox   musl-like: one static program and links to it
#   openshell-test/user      the same, with a USER by name, a WORKDIR, a health check and an ENV
#   openshell-test/scratch   a single static program and nothing else, not even /tmp
#   openshell-test/debian    Debian's smallest system with curl and wget
#
# `machine` makes one more, of a machine with systemd and an SSH server: openshell-test/machine.
#
# For engines beside others: ENGINE_OWN=1 starts one whatever else answers, ENGINE_APART=1 in a network of its own, ENGINE_HOSTNAME
# says what its machine is called, ENGINE_SWARM=1 asks for one whose Swarm can run sandboxes, ENGINE_FLAGS go to `dockerd`.
. "$(dirname "$0")/lib.sh"

ENGINE_DIR=${ENGINE_DIR:-/tmp/openshell-docker}
own=unix://$ENGINE_DIR/docker.sock

answers() { docker -H "$1" version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Which engine there is: the environment's, the system's, ours.
find_engine() {
  [ -n "${ENGINE_OWN:-}" ] && { answers "$own" && echo "$own"; return; }
  for host in ${DOCKER_HOST:-} unix:///var/run/docker.sock "$own"; do
    answers "$host" && { echo "$host"; return; }
  done
  return 1
}

# A Swarm's services can be confined from Docker 25 on. Where the system has an older one, Debian's next is unpacked aside, and put
# first in PATH.
swarm_engine() {
  local found kept=$target/docker-images/engine work settings
  found=$(dockerd --version 2>/dev/null | sed -n 's/^Docker version \([0-9]*\).*/\1/p')
  [ "${found:-0}" -lt 25 ] || return 0
  mkdir -p "$target/docker-images"
  exec 7>"$kept.lock"
  flock 7
  if [ ! -x "$kept/usr/sbin/dockerd" ]; then
    say "collecting a Docker engine for Swarms (once)"
    work=$(mktemp -d "$ENGINE_DIR/engine.XXXXXX")
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" >"$work/sources"
    settings=(-o "Dir::Etc::SourceList=$work/sources" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$work/lists"
      -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
    apt-get -qq "${settings[@]}" update >&2
    (cd "$work" && apt-get -qq "${settings[@]}" download docker.io containerd) >&2
    for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root"; done
    rm -rf "$kept"
    mv "$work/root" "$kept"
    rm -rf "$work"
  fi
  flock -u 7
  PATH=$kept/usr/bin:$kept/usr/sbin:$PATH
}

start_engine() {
  [ "$(id -u)" = 0 ] || die "no Docker engine answers, and starting one needs root" "start Docker, or run as root"
  apt_install docker.io >&2
  mkdir -p "$ENGINE_DIR"
  exec 8>"$ENGINE_DIR/lock"
  flock 8
  answers "$own" && { echo "$own"; return; }
  [ -z "${ENGINE_SWARM:-}" ] || swarm_engine
  say "starting a Docker engine in $ENGINE_DIR"
  # Descriptor 8 stays ours: the engine must not hold the lock.
  # An engine without a bridge takes away the one that others of its network have: such a one gets a network of its own.
  # shellcheck disable=SC2086,SC2016
  setsid ${ENGINE_APART:+unshare --net --uts} sh -c '[ -z "${ENGINE_HOSTNAME:-}" ] || hostname "$ENGINE_HOSTNAME"; exec dockerd "$@"' sh \
    --data-root "$ENGINE_DIR/data" --exec-root "$ENGINE_DIR/run" --pidfile "$ENGINE_DIR/pid" -H "$own" ${ENGINE_FLAGS:-} \
    >>"$ENGINE_DIR/log" 2>&1 </dev/null 7>&- 8>&- &
  for _ in $(seq 300); do
    answers "$own" && { echo "$own"; return; }
    sleep 0.1
  done
  tail -n 5 "$ENGINE_DIR/log" >&2
  die "the Docker engine did not start" "$ENGINE_DIR/log says why; ENGINE_FLAGS=--storage-driver=vfs helps where overlayfs is refused"
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# import DIRECTORY NAME CHANGE… — an image of a directory.
import() {
  local directory=$1 name=$2 changes=()
  shift 2
  for change in "$@"; do changes+=(--change "$change"); done
  say "making the image $name"
  tar -C "$directory" --numeric-owner -c . | docker import "${changes[@]}" - "$name" >/dev/null
}

make_images() {
  exec 9>"$ENGINE_DIR/images.lock"
  flock 9
  local work
  work=$(mktemp -d "$ENGINE_DIR/images.XXXXXX")
  if ! has_image openshell-test/busybox || ! has_image openshell-test/user || ! has_image openshell-test/scratch; then
    apt_install busybox-static >&2
    mkdir -p "$work/busybox/bin" "$work/busybox/etc" "$work/scratch"
    cp "$(command -v busybox)" "$work/busybox/bin/busybox"
    cp "$(command -v busybox)" "$work/scratch/wget"
    for applet in $("$work/busybox/bin/busybox" --list); do
      [ "$applet" = busybox ] || ln -s busybox "$work/busybox/bin/$applet"
    done
    printf 'root:x:0:0::/:/bin/sh\nagent:x:1234:1235::/home/agent:/bin/sh\n' >"$work/busybox/etc/passwd"
    printf 'root:x:0:\nagents:x:1235:\n' >"$work/busybox/etc/group"
    import "$work/busybox" openshell-test/busybox 'ENV PATH=/bin'
    mkdir -p "$work/busybox/srv/app"
    import "$work/busybox" openshell-test/user 'ENV PATH=/bin' 'ENV GREETING=hello' 'USER agent' 'WORKDIR /srv/app' \
      'HEALTHCHECK --interval=1s CMD touch /tmp/checked'
    import "$work/scratch" openshell-test/scratch
  fi
  if ! has_image openshell-test/debian && [ -z "${ENGINE_OWN:-}" ]; then
    apt_install debootstrap >&2
    # It takes a minute: kept for the next engine.
    local kept=$target/docker-images/debian.tar
    if [ ! -f "$kept" ]; then
      say "collecting Debian's smallest system (once)"
      mkdir -p "$(dirname "$kept")"
      as_root debootstrap --variant=minbase --include=curl,wget,ca-certificates bookworm "$work/debian" >&2
      as_root tar -C "$work/debian" --numeric-owner --exclude=./var/cache/apt --exclude=./var/lib/apt/lists -cf "$kept.new" .
      mv "$kept.new" "$kept"
    fi
    say "making the image openshell-test/debian"
    docker import "$kept" openshell-test/debian >/dev/null
  fi
  as_root rm -rf "$work"
}

# A machine to reach by SSH: Debian with systemd and an SSH server, user `agent`.
make_machine() {
  exec 9>"$ENGINE_DIR/images.lock"
  flock 9
  has_image openshell-test/machine && return
  apt_install debootstrap >&2
  local kept=$target/docker-images/machine.tar work
  if [ ! -f "$kept" ]; then
    say "collecting a small Debian machine (once)"
    work=$(mktemp -d "$ENGINE_DIR/machine.XXXXXX")
    mkdir -p "$(dirname "$kept")"
    as_root debootstrap --variant=minbase \
      --include=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,openssh-server,procps,curl,ca-certificates \
      bookworm "$work/root" >&2
    as_root chroot "$work/root" useradd --create-home --shell /bin/bash agent
    as_root tar -C "$work/root" --numeric-owner --exclude=./var/cache/apt --exclude=./var/lib/apt/lists -cf "$kept.new" .
    mv "$kept.new" "$kept"
    as_root rm -rf "$work"
  fi
  say "making the image openshell-test/machine"
  docker import "$kept" openshell-test/machine >/dev/null
}

case ${1:-} in
  stop)
    [ ! -f "$ENGINE_DIR/pid" ] || as_root kill "$(cat "$ENGINE_DIR/pid")"
    exit 0
    ;;
  '' | images | machine) ;;
  *) die "unknown word $1" "docker-engine.sh [images | machine | stop]" ;;
esac

command -v docker >/dev/null || apt_install docker.io >&2
DOCKER_HOST=$(find_engine || start_engine)
export DOCKER_HOST
mkdir -p "$ENGINE_DIR"
[ "${1:-}" != images ] || make_images
[ "${1:-}" != machine ] || make_machine >&2
echo "$DOCKER_HOST"
