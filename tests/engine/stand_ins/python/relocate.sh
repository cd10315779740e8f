#!/bin/sh
# Turn Debian's unpacked Python packages into what `make install` below /usr/local gives.
# usage: relocate.sh FILES TARGET X.Y
set -eu
files=$1 target=$2/usr/local python=python$3
lib=$target/lib/$python

mkdir -p "$target/bin" "$target/lib" "$target/include"
cp -a "$files/usr/bin/$python" "$target/bin/"
cp -a "$files/usr/lib/$python" "$target/lib/"
cp -a "$files/usr/include/$python" "$target/include/"
# Debian's pyconfig.h only includes the architecture's own.
cp -a "$files"/usr/include/*-linux-gnu/"$python"/pyconfig.h "$target/include/$python/pyconfig.h"

# What makes pip, setuptools and ensurepip treat it as the distribution's.
rm -rf "$lib/EXTERNALLY-MANAGED" "$lib/sitecustomize.py" "$lib/_distutils_system_mod.py" "$lib"/config-*
sed -i "s/'posix_local'$/'posix_prefix'/" "$lib/sysconfig/__init__.py"
# The binary has a frozen site.py inside, so it needs the same change; the two names are equally long.
sed -i 's/dist-packages/site-packages/g' "$target/bin/$python" "$lib/site.py"
sed -i 's/^def _ensurepip_is_disabled_in_debian_for_system():$/&\n    return/' "$lib/ensurepip/__init__.py"

# What C extensions are compiled with.
sed -i -E \
    -e "s#'/usr'#'/usr/local'#g" \
    -e "s#/usr/(bin|include|lib)/$python#/usr/local/\1/$python#g" \
    -e "s#'/usr/(bin|include|lib)'#'/usr/local/\1'#g" \
    -e "s#'/usr/lib/[a-z0-9_]+-linux-gnu'#'/usr/local/lib'#g" \
    -e "s#[a-z0-9_]+-linux-gnu-(gcc|g\+\+|ar)#\1#g" \
    "$lib"/_sysconfigdata__linux*.py
