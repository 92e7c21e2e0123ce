#!/bin/sh
# Makes sure that there is a Chromium, in which the tests look at the HTML report: uses one that is installed, or installs Debian's.
#   install_chromium.sh --check   only report, at once, whether that will succeed
# Exit status 1: Chromium is missing and cannot be installed from here; the message names the command to run.
set -eu

for browser in "${TIER0_CHROMIUM:-}" chromium chromium-browser google-chrome; do
	if [ -n "$browser" ] && command -v "$browser" >/dev/null; then exit 0; fi
done

as_root=
[ "$(id -u)" = 0 ] || as_root="sudo -n"
packages="chromium fonts-dejavu-core"
cannot() {
	echo "The tests of the HTML report need Chromium, $1. $2, or set TIER0_CHROMIUM to the executable of a Chromium or Chrome." >&2
	exit 1
}
command -v apt-get >/dev/null || cannot "which can only be installed automatically on Debian" "Install it"
[ -z "$as_root" ] || $as_root true 2>/dev/null || cannot "and only root can install it" "Run: sudo apt-get install $packages"
[ "${1:-}" != --check ] || exit 0

echo "installing Chromium (Debian packages: $packages)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >>"$log" 2>&1; }
# The package lists of a new machine may be missing or old; reading them takes longer than most installations.
install || { $as_root apt-get update -qq >>"$log" 2>&1 && install; } || {
	cat "$log" >&2
	cannot "and its installation failed (see above)" "Run: sudo apt-get update && sudo apt-get install $packages"
}
