"""The two shell programs that `pin-console` installs, POSIX sh and `sha256sum` only: they also run in the initramfs."""

CHECK_PROGRAM = """\
#!/bin/sh
# Installed by `leadglass-guard pin-console`; udev runs it for a device at a pinned place.
#   console-check SYSFS_FOLDER SHA256
# Succeeds only where the device's descriptors are, byte for byte, the pinned ones.
PATH=/usr/bin:/bin
found=$(sha256sum <"$1/descriptors") || exit 1
[ "${found%% *}" = "$2" ]
"""

# initramfs-tools(7): a hook is called with `prereqs` once, then to copy what it needs below $DESTDIR.
INITRAMFS_HOOK = """\
#!/bin/sh
# Installed by `leadglass-guard pin-console`: the pinned console works before the root file system is there.
case "$1" in
prereqs)
    echo udev
    exit 0
    ;;
esac
. /usr/share/initramfs-tools/hook-functions

mkdir -p "$DESTDIR/etc/udev/rules.d" "$DESTDIR/usr/lib/leadglass"
cp -p /etc/udev/rules.d/60-leadglass-console.rules "$DESTDIR/etc/udev/rules.d/"
cp -p /usr/lib/leadglass/console-check "$DESTDIR/usr/lib/leadglass/"
copy_exec /usr/bin/sha256sum /usr/bin/sha256sum
# Also where only the modules of this machine are taken (MODULES=dep) and none of these happens to be loaded now.
manual_add_modules xhci_pci ehci_pci ohci_pci uhci_hcd usbhid hid_generic evdev
# What makes this the default also for controllers that come up in the initramfs.
for rules in /etc/udev/rules.d/58-leadglass-default-deny.rules /usr/lib/udev/rules.d/58-leadglass-default-deny.rules; do
    [ ! -e "$rules" ] || cp -p "$rules" "$DESTDIR/etc/udev/rules.d/"
done
"""
