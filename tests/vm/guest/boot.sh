#!/bin/busybox sh
# The first program of a guest, from its initrd: finds the disk and goes on there.
set -e
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do
  /bin/busybox insmod "$module"
done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
exec /bin/busybox switch_root /root /sbin/init
