#!/bin/sh
# Lays out the files of the image: the host, the shared libraries that it loads, the authorities that it trusts as a
# client of upstream services, and a user.
#
#   rootfs.sh BINARY FOLDER
#
# As root it gives the data folder to that user; otherwise, to who runs it.
set -eu
binary=$1
root=$2
user=65532

mkdir -p "$root/etc/mortise" "$root/etc/ssl/certs" "$root/var/lib" "$root/plugins"
install -D -m 0755 "$binary" "$root/usr/bin/mortise"
# With the loader, which is among them by its path.
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 0755 "$library" "$root$library"
done
install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo "hosts: files dns" > "$root/etc/nsswitch.conf"
echo "mortise:x:$user:$user:Mortise:/var/lib/mortise:/sbin/nologin" > "$root/etc/passwd"
echo "mortise:x:$user:" > "$root/etc/group"
mkdir -m 0700 "$root/var/lib/mortise"
if [ "$(id -u)" = 0 ]; then
    chown "$user:$user" "$root/var/lib/mortise"
fi
