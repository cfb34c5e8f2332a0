#!/bin/sh
# The shim as it is released: for glibc 2.17 and later, so that it loads in older images too. A preloaded library
# that cannot be loaded stops every program of a container, `sh` as well.
#
#   release.sh PYTHON FOLDER    makes FOLDER/libcuda.so.1 and FOLDER/libcuda.so; PYTHON has ziglang
set -eu
python=$1 folder=$2
native=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$folder"
build() {
    output=$1
    shift
    "$python" -m ziglang cc -target x86_64-linux-gnu.2.17 -std=gnu17 -O2 -fPIC -shared -fvisibility=hidden \
        -fno-strict-aliasing -fno-omit-frame-pointer -fno-sanitize=all -D_GNU_SOURCE -DNDEBUG \
        -I"$native" -I"$native/include" -I"$native/shim" "$@" \
        -Wl,-soname,libcuda.so.1 -Wl,--version-script="$native/shim/generated/exports.map" \
        -ffunction-sections -fdata-sections -Wl,--gc-sections -Wl,-Bsymbolic -Wl,-z,defs -Wl,-z,nodelete -ldl -lpthread -lm -s -o "$folder/$output"
}
build libcuda.so.1 "$native"/shim/*.c "$native"/shim/generated/*.c \
    "$native"/wire/*.c
build libcuda.so "$native/shim/forward/forward.c"
