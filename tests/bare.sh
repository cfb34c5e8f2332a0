#!/bin/sh
# Runs commands in a fresh clone of HEAD on a machine that has nothing but what the README asks for:
#
#   tests/bare.sh [--also TOOL]... [--keep] COMMAND...            a PATH of links, an empty home
#   tests/bare.sh --debootstrap SUITE [--keep] COMMAND...         a root of Debian's minimum (as root)
#
# For instance: tests/bare.sh 'make demo DEMO_FLAGS=--quick' 'make lint'
# The second form is the nightly one: there is no file that Debian does not install for these packages.
# PYTHON names the interpreter of the first form. How pip reaches its index is taken over; its cache is not.
set -eu

# What there is besides Python. A C compiler's package brings the binutils, and gcc looks for `as` and `ld`
# in PATH. The rest is what every Linux has (Debian's "essential" packages), by the names that make's
# rules, git, configure checks of CMake, and the tests use.
COMPILER="cc gcc gcc-ar gcc-nm gcc-ranlib as ld ar nm objcopy objdump ranlib readelf strip"
TOOLS="make git sh bash env awk cat chgrp chmod chown cp cut date dd df dirname basename du echo egrep expand
expr false find fold grep gzip head hostname id install kill ldd ln ls mkdir mkfifo mktemp mv nice nohup
nproc od paste printenv printf ps pwd readlink realpath rm rmdir sed seq sha256sum sleep sort stat stty sync tail tar
tee test timeout touch tr true tty uname uniq wc which xargs yes"
# What pip and git need to reach their servers from here.
PASSED="SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE http_proxy https_proxy no_proxy all_proxy
HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY"
DEBIAN="python3 python3-venv python3-dev gcc libc6-dev make git ca-certificates"
MIRROR=${MIRROR:-} # where debootstrap fetches from, if not where it does by itself

suite="" keep="" also=""
while [ $# -gt 0 ]; do
    case $1 in
    --debootstrap) suite=$2 && shift 2 ;;
    --also) also="$also $2" && shift 2 ;;
    --keep) keep=yes && shift ;;
    --help | -*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 2 ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] || { echo "bare: no command (--help tells more)" >&2 && exit 2; }

repository=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/tally-bare.XXXXXX")
chmod 755 "$work" # tests become other users, who run things of PATH too
finish() {
    status=$?
    trap - EXIT
    if [ "$keep" ]; then echo "bare: kept in $work" >&2; else rm -rf --one-file-system "$work"; fi
    exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

clone() {
    [ -z "$(git -C "$repository" status --porcelain)" ] ||
        echo "bare: there are changes that are not committed, and they are left out" >&2
    git clone --quiet --no-hardlinks "$repository" "$1"
}


# NAME='value', as a shell reads it.
setting() { printf "export %s='%s'\n" "$1" "$(printf %s "$2" | sed "s/'/'\\\\''/g")"; }

# How pip and git reach their servers from here.
network() {
    for name in $(env | sed -n 's/^\(PIP_[A-Z_]*\)=.*/\1/p') $PASSED; do
        eval "value=\${$name:-}"
        case $name in PIP_CACHE_DIR | PIP_CONFIG_FILE) value="" ;; esac
        [ -z "$value" ] || setting "$name" "$value"
    done
}

# The user's file of pip, which pip finds by HOME.
pip_config() {
    for file in "${PIP_CONFIG_FILE:-}" "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf" "$HOME/.pip/pip.conf"; do
        if [ -f "$file" ]; then echo "$file" && return; fi
    done
}

# What commands see is set by the file `settings` alone.
START='. "$1/settings" && cd "$1/tally" && eval "$2"'

enter_links() { env -i "$work/bin/sh" -c "$START" sh "$work" "$1"; }

enter_root() {
    unshare --mount --pid --fork --kill-child /bin/sh -c '
        mount --bind "$1" "$1" && mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount --rbind /sys "$1/sys" &&
        exec chroot "$1" /usr/bin/env -i /bin/sh -c "$2" sh /bare "$3"' sh "$work/debian" "$START" "$1"
}

link() {
    path=$(PATH=$PATH:/usr/sbin:/usr/bin:/bin command -v "$1") || return 0
    case $path in /*) ;; *) path=$(PATH=/usr/bin:/bin which "$1") || return 0 ;; esac # built into this shell
    ln -s "$path" "$work/bin/$1"
}

make_links() {
    mkdir "$work/bin" "$work/home" "$work/tmp"
    python=$(${PYTHON:-python3} -c 'import os, sys; print(os.path.realpath(sys.executable))')
    ln -s "$python" "$work/bin/python3"
    for tool in $COMPILER $TOOLS $also; do link "$tool"; done
    {
        network
        config=$(pip_config)
        [ -z "$config" ] || setting PIP_CONFIG_FILE "$config"
        setting PATH "$work/bin"
        setting HOME "$work/home"
        setting TMPDIR "$work/tmp"
        setting LANG C.UTF-8
    } >"$work/settings"
    clone "$work/tally"
}

make_root() {
    script=/usr/share/debootstrap/scripts/$suite # which of them knows a suite that is new?
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
    [ "$MIRROR" ] || MIRROR=$(sed -n 's/^DEF_MIRROR="\(.*\)"/\1/p' "$(command -v debootstrap)" | head -n 1)
    echo "bare: debootstrap $suite"
    debootstrap --variant=minbase --include="$(echo $DEBIAN | tr ' ' ,)" "$suite" "$work/debian" "$MIRROR" \
        "$script" >"$work/debootstrap.log" 2>&1 || { tail "$work/debootstrap.log" >&2 && return 1; }
    mkdir "$work/debian/bare" "$work/debian/bare/home"
    cp /etc/resolv.conf "$work/debian/etc/resolv.conf"
    config=$(pip_config)
    {
        network
        setting PATH /usr/sbin:/usr/bin:/sbin:/bin
        setting HOME /bare/home
        setting LANG C.UTF-8
        if [ "$config" ]; then
            cp "$config" "$work/debian/bare/pip.conf"
            setting PIP_CONFIG_FILE /bare/pip.conf
        fi
    } >"$work/debian/bare/settings"
    # Servers' certificates that this machine trusts, for an index behind a proxy that has its own.
    [ ! -f "${SSL_CERT_FILE:-}" ] || install -D "$SSL_CERT_FILE" "$work/debian$SSL_CERT_FILE"
    clone "$work/debian/bare/tally"
}

# One command after another, each with its time.
enter=enter_links
if [ "$suite" ]; then enter=enter_root && make_root; else make_links; fi
for command in "$@"; do
    echo "bare: $command"
    began=$(date +%s)
    $enter "$command" || { echo "bare: failed: $command" >&2 && exit 1; }
    echo "bare: done in $(($(date +%s) - began)) s: $command"
done
