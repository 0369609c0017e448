#!/bin/sh
# Makes a base image for docker/Dockerfile of Debian's packages alone, where no registry can be reached:
#
#   docker/base_image.sh localhost/algoperf-base [ROOT]
#
# Needs debootstrap, buildah and root. ROOT is a folder for the files of the image, by default a temporary one.
set -eu

name=$1
root=${2:-}
if [ -z "$root" ]; then
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
fi

if [ ! -e "$root/usr/bin/python3" ]; then
  debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates bookworm "$root"
fi
# As in the images of Python: `python` is there, and pip may install into the system.
ln -sf /usr/bin/python3 "$root/usr/local/bin/python"
rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED "$root"/var/cache/apt/archives/*.deb

container=$(buildah from scratch)
buildah add --quiet "$container" "$root" /
buildah config --cmd python "$container"
buildah commit --quiet --rm "$container" "$name"
