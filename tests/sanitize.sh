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
reports=$build/reports
mkdir -p "$build"
export PATH="$bin:$PATH"

export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:exitcode=66:ignore_noninstrumented_modules=1:die_after_fork=0:suppressions=$root/tests/tsan.supp
export ASAN_OPTIONS=abort_on_error=1

case $sanitizer in
thread) runtime=libtsan.so instrumented=__tsan_init ;;
*) runtime=libasan.so instrumented=__asan_init ;;
esac
defects=$(echo "$sanitizer" | tr , ' ')
words() {
    case $1 in
    address) echo 'heap-buffer-overflow' ;;
    undefined) echo 'signed integer overflow' ;;
    thread) echo 'data race' ;;
    esac
}

# ThreadSanitizer of older compilers cannot place its shadow where the kernel randomises much.
run() { setarch -R "$@"; }
quietly() { "$@" >"$build/log" 2>&1 || { cat "$build/log"; exit 1; }; }
fail() { echo "sanitize: $*" >&2; exit 1; }
end_to_end() { LD_PRELOAD=$(cc -print-file-name=$runtime) run "$build/venv/bin/python" "$@"; }
# Whether there is a report. Programs that abort by themselves mean it.
reported() {
    for report in "$reports"/*; do
        [ -e "$report" ] || return 1
        ! grep -q 'AddressSanitizer: ABRT' "$report" || grep -q __ubsan "$report" || continue
        return 0
    done
    return 1
}

# ---- C tests, leaks included ----
quietly cmake -S "$root" -B "$build/c" -G Ninja -DTALLY_TESTS=ON -DTALLY_SANITIZE="$sanitizer" \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPython_EXECUTABLE="$bin/python"
# Only the tests: the package's libraries are built below.
quietly ninja -C "$build/c" native/tests/all
# A defect of each kind is seen, or silence would mean nothing.
for defect in $defects; do
    ! run "$build/c/native/tests/defect" "$defect" >"$build/log" 2>&1 || fail "the $defect defect does no harm"
    grep -q "$(words "$defect")" "$build/log" || fail "the $defect defect is not reported: see $build/log"
done
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
quietly "$build/venv/bin/pip" install --quiet --no-deps --no-build-isolation --force-reinstall \
    --editable "$root" -C build-dir="$build/wheel" \
    -C cmake.define.TALLY_SANITIZE="$sanitizer" -C cmake.build-type=RelWithDebInfo
for library in "$to"/tally/_native*.so "$to"/tally/lib/libcuda.so.1 "$to"/tally/lib/libtally_softgpu.so; do
    nm -D "$library" | grep -q "$instrumented" || fail "$library is not instrumented"
done

# Reports go into files, one per process: the output of programs is what tests read, and a process that no
# test waits for is heard too. UndefinedBehaviorSanitizer beside AddressSanitizer writes to stderr all the
# same, so it aborts, and that is reported.
rm -rf "$reports"
mkdir "$reports"
export ASAN_OPTIONS=$ASAN_OPTIONS:handle_abort=1:log_path=$reports/report
export UBSAN_OPTIONS=$UBSAN_OPTIONS:abort_on_error=1:log_path=$reports/report
export TSAN_OPTIONS=$TSAN_OPTIONS:log_path=$reports/report
# Python and CUDA's libraries keep memory until the process ends and load the sanitizer's library late, so
# leaks are looked for in the C tests alone. softgpu's handler turns a kernel's faults into CUDA errors.
# The quarantine of freed memory is small, because tests look at how much memory processes hold.
export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0:verify_asan_link_order=0:quarantine_size_mb=16
export ASAN_OPTIONS=$ASAN_OPTIONS:allow_user_segv_handler=1:handle_segv=0:handle_sigbus=0

# A defect in an executor is seen as well, with the engine's functions in its stack.
for defect in $defects; do
    (cd "$root/tests" && end_to_end -m support.defect "$sanitizer" "$defect")
    reported || fail "the $defect defect of an executor is not reported"
    grep -q 'native/engine/' "$reports"/* ||
        fail "the $defect defect of an executor does not show the engine: see $reports"
    rm "$reports"/*
done

# The demo measures time more than it tests code; reading PTX and running ptxas is no native code of ours;
# systemd gives services an environment without the sanitizer.
for name in e2e/test_demo ptx/test_sources e2e/test_systemd; do
    set -- --ignore "tests/soft/$name.py" "$@"
done
# Sanitizers read their options from /proc: a program without it runs with others than these.
set -- --deselect tests/soft/test_hosts.py::test_no_proc "$@"
if [ "$sanitizer" = thread ]; then
    # What one thread computes, and softgpu's compiler, have no races to show; they run under the other
    # sanitizer.
    for name in control errors float int; do
        set -- --ignore "tests/soft/ptx/test_$name.py" "$@"
    done
    # A thread that is cancelled in a library that is not instrumented, and `unshare --fork` itself, are
    # more than the sanitizer's runtime can follow: it says so of the one, and crashes in the other.
    set -- --ignore tests/soft/test_containers.py "$@"
    # The runtime takes locks in its own name, so the scripted driver does not see whose they are.
    set -- --deselect tests/soft/engine/test_script.py::test_the_check_sees_a_lock "$@"
    for case in cancel-alone cancel-first; do
        set -- --deselect "tests/soft/test_hosts.py::test_threads_that_leave_their_wait[$case]" "$@"
    done
fi
cd "$root"
passed=true
# Hangs end the run, with the stacks of all threads: the other way of pytest-timeout is a signal, which
# Python sees when it is back from the call that hangs.
end_to_end -m pytest --timeout 600 --override-ini timeout_method=thread -p no:cacheprovider tests/soft "$@" ||
    passed=false
if reported; then
    head -n 60 "$reports"/*
    fail "reports are in $reports"
fi
$passed
