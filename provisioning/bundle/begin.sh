#!/bin/sh
# Installs from a bundle on a machine with nothing of ours: run it as root where the bundle was unpacked, and only after
# this machine's own programs have verified it (engineer's guide, "From the offline bundle").
#   sh begin.sh BUNDLE FINGERPRINT
set -eu
[ $# -eq 2 ] || { echo "usage: sh begin.sh BUNDLE FINGERPRINT" >&2; exit 2; }
bundle=$1
fingerprint=$2
set --
# Those that the list names, which was verified, whatever else lies in the folder.
# shellcheck disable=SC2013  # no name has a space
for package in $(sed -n 's|^[0-9a-f]*  \(packages/[A-Za-z0-9._+~-]*\)$|\1|p' SHA256SUMS); do
    name=$(dpkg-deb --field "$package" Package)
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null || true)
    # What the machine has stays as it is. A package of ours too: `bundle install` goes to no older one unasked.
    [ "$status" = installed ] || set -- "$@" "$package"
done
[ $# -eq 0 ] || dpkg --install "$@"
exec leadglass-provision bundle install "$bundle" --fingerprint "$fingerprint"
