#!/bin/sh
# Native code under a sanitizer: the C tests, then programs end to end on softgpu.
#
#   tests/sanitize.sh BIN SANITIZER [PYTEST ARGUMENT...]
#
# BIN is the bin folder of an environment with tally-gpu[test]; SANITIZER is address,undefined or
# thread. The end-to-end part installs an instrumented Tally into an environment of its own that shares
# everything else with BIN's.
set -eu

bin=$(cd "$1" && pwd)
sanitizer=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
name=$(echo "$sanitizer" | tr , -)
build=$root/build/sanitize-$name
export PATH="$bin:$PATH"

case $sanitizer in
thread) runtime=$(cc -print-file-name=libtsan.so) ;;
*) runtime=$(cc -print-file-name=libasan.so) ;;
esac
# Python and NVIDIA's libraries are not instrumented: they leak on purpose, and load the runtime late.
# The quarantine of freed memory is kept small, because tests look at how much memory processes hold.
export ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16:verify_asan_link_order=0:abort_on_error=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:exitcode=66:ignore_noninstrumented_modules=1

# ThreadSanitizer of older compilers cannot place its shadow where the kernel randomises much.
run() { setarch -R "$@"; }

cmake -S "$root" -B "$build/c" -G Ninja -DTALLY_TESTS=ON -DTALLY_SANITIZE="$sanitizer" \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPython_EXECUTABLE="$bin/python" >"$build.log" 2>&1 ||
    { cat "$build.log"; exit 1; }
ninja -C "$build/c" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
run ctest --test-dir "$build/c" --output-on-failure

[ -x "$build/venv/bin/python" ] || python -m venv "$build/venv"
site=$("$build/venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')
"$bin/python" -c 'import site; print(site.getsitepackages()[0])' >"$site/shared.pth"
"$build/venv/bin/pip" install --quiet --no-deps --no-build-isolation --force-reinstall \
    --editable "$root" -C build-dir="$build/wheel" \
    -C cmake.define.TALLY_SANITIZE="$sanitizer" -C cmake.build-type=RelWithDebInfo
cd "$root"
LD_PRELOAD=$runtime run "$build/venv/bin/python" -m pytest --timeout 600 \
    -p no:cacheprovider tests/soft "$@"
