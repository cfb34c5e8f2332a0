#!/bin/sh
# Native code under a sanitizer: the C tests, then programs end to end on softgpu.
#
#   tests/sanitize.sh BIN SANITIZER [PYTEST ARGUMENT...]
#
# BIN is the bin folder of an environment with tally-gpu[test]; SANITIZER is address,undefined or
# thread. The end-to-end part installs an instrumented Tally into an environment of its own that shares
# everything else with BIN's. Without pytest arguments it runs tests/soft less what is named below.
#
# Instrumented: the shim, the engine, the scheduler and softgpu's driver, in tallyd, executors and every
# program that the tests start, C programs and Python alike. Not instrumented: the code that softgpu
# compiles kernels to, Python, libzmq, LLVM and CUDA's libraries.
set -eu

bin=$(cd "$1" && pwd)
sanitizer=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
name=$(echo "$sanitizer" | tr , -)
build=$root/build/sanitize-$name
mkdir -p "$build"
export PATH="$bin:$PATH"

export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:exitcode=66:ignore_noninstrumented_modules=1:die_after_fork=0:suppressions=$root/tests/tsan.supp
export ASAN_OPTIONS=abort_on_error=1

# ThreadSanitizer of older compilers cannot place its shadow where the kernel randomises much.
run() { setarch -R "$@"; }
quietly() { "$@" >"$build/log" 2>&1 || { cat "$build/log"; exit 1; }; }

# ---- C tests, leaks included ----
quietly cmake -S "$root" -B "$build/c" -G Ninja -DTALLY_TESTS=ON -DTALLY_SANITIZE="$sanitizer" \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPython_EXECUTABLE="$bin/python"
# Only the tests: the package's libraries are built below.
quietly ninja -C "$build/c" native/tests/all
run ctest --test-dir "$build/c" --output-on-failure

# ---- end to end ----
# Links, not a path file: packages look for each other's libraries in site-packages itself.
[ -x "$build/venv/bin/python" ] || python -m venv "$build/venv"
sites='import site; print(site.getsitepackages()[0])'
from=$("$bin/python" -c "$sites")
to=$("$build/venv/bin/python" -c "$sites")
for entry in "$from"/*; do
    case ${entry##*/} in
    tally* | *tally_gpu* | pip* | setuptools* | _distutils_hack | distutils-precedence.pth) ;;
    *) ln -sfn "$entry" "$to/${entry##*/}" ;;
    esac
done
"$build/venv/bin/pip" install --quiet --no-deps --no-build-isolation --force-reinstall \
    --editable "$root" -C build-dir="$build/wheel" \
    -C cmake.define.TALLY_SANITIZE="$sanitizer" -C cmake.build-type=RelWithDebInfo

# Python and CUDA's libraries keep memory until the process ends and load the sanitizer's library late, so
# leaks are looked for in the C tests alone. softgpu's handler turns a kernel's faults into CUDA errors.
# The quarantine of freed memory is small, because tests look at how much memory processes hold.
export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0:verify_asan_link_order=0:quarantine_size_mb=16
export ASAN_OPTIONS=$ASAN_OPTIONS:allow_user_segv_handler=1:handle_segv=0:handle_sigbus=0

# Measures time more than it tests code, and takes a minute of it.
set -- --deselect tests/soft/test_e2e_demo.py "$@"
case $sanitizer in
thread)
    runtime=$(cc -print-file-name=libtsan.so)
    # What one thread computes, and softgpu's compiler, have no races to show; they run under the other
    # sanitizer.
    for file in control errors float int; do
        set -- --ignore "tests/soft/test_ptx_$file.py" "$@"
    done
    ;;
*) runtime=$(cc -print-file-name=libasan.so) ;;
esac
cd "$root"
LD_PRELOAD=$runtime run "$build/venv/bin/python" -m pytest --timeout 600 -p no:cacheprovider \
    tests/soft "$@"
