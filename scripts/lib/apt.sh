# Installing by apt; sourced, never run. Needs common.sh.
# shellcheck shell=bash

# Another apt, such as a machine's nightly upgrade, may hold its locks for minutes.
APT_PATIENCE_SECONDS="${APT_PATIENCE_SECONDS:-300}"
apt_updated=no

# Packages, by root or sudo.
apt_install() {
    command -v apt-get >/dev/null || fail "$* must be installed, and there is no apt-get here"
    apt_update "$@"
    say "installing $* by apt"
    apt_patiently env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
        -o "DPkg::Lock::Timeout=$APT_PATIENCE_SECONDS" install "$@" || fail "apt-get install $* failed"
}

apt_update() {
    as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            fail "$* must be installed, which needs root or sudo: apt-get install $*"
        as_root=(sudo)
    fi
    [ "$apt_updated" = no ] || return 0
    say "refreshing the package lists"
    apt_patiently apt-get -qq -o "DPkg::Lock::Timeout=$APT_PATIENCE_SECONDS" update ||
        fail "apt-get update failed: is there a network?"
    apt_updated=yes
}

# Runs it again while another apt has the lock of the package lists, for which apt itself does not wait.
apt_patiently() {
    local said began=$SECONDS told=no
    while :; do
        if said="$("${as_root[@]}" env LC_ALL=C "$@" 2>&1)"; then return 0; fi
        case "$said" in
        *'Could not get lock'* | *'Unable to lock'*) ;;
        *)
            printf '%s\n' "$said" >&2
            return 1
            ;;
        esac
        if [ "$((SECONDS - began))" -ge "$APT_PATIENCE_SECONDS" ]; then
            printf '%s\n' "$said" >&2
            return 1
        fi
        [ "$told" = yes ] || say "another apt is at work: waiting for its lock"
        told=yes
        sleep 2
    done
}
