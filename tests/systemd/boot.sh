#!/bin/sh
# Makes this mount, pid and network namespace a machine whose init is systemd, over a copy-on-write
# view of the host. $1: a directory for its mounts; $2: what it sees at /opt; $3: at /opt/packages.
set -eu
own=$1 opt=$2 packages=$3
mount --make-rprivate /
mount -t tmpfs none "$own"
mkdir "$own/upper" "$own/work" "$own/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$own/upper,workdir=$own/work" "$own/root"
root=$own/root
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 none "$root/run"
mount -t tmpfs -o mode=1777 none "$root/tmp"
mount -t tmpfs -o mode=755 none "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -p "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs none "$root/dev/shm"
mount -t devpts -o ptmxmode=666,newinstance none "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount --bind "$opt" "$root/opt"
mount --bind "$packages" "$root/opt/packages"
# Nothing of the host's own services.
mount -t tmpfs -o mode=755 none "$root/etc/systemd/system"
cat >"$root/etc/systemd/system/machine.target" <<UNIT
[Unit]
Requires=sysinit.target
After=sysinit.target
UNIT
for unit in systemd-sysctl systemd-modules-load systemd-binfmt systemd-remount-fs; do
    ln -s /dev/null "$root/etc/systemd/system/$unit.service" # they would change the host's kernel
done
# An uplink with an address, and a way out.
ip link set lo up
ip link add uplink0 type veth peer name uplink1
ip link set uplink1 up
ip address add 10.9.0.1/24 dev uplink0
ip link set uplink0 up
ip route add default dev uplink0
cd "$root"
pivot_root . mnt
umount -l /mnt
mount --make-rshared / # as init does where it is not in a container
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
    --unit=machine.target --log-target=journal --show-status=no </dev/null >/dev/null 2>&1
