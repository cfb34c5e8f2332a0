#include "fiber.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define GUARD 4096u

/* soft_switch(save, load): pushes what the ABI preserves, stores the stack pointer, takes the other
 * one. */
void soft_switch(void **save, void *load);

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl soft_switch\n"
        ".hidden soft_switch\n"
        ".type soft_switch, @function\n"
        "soft_switch:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  subq $8, %rsp\n  stmxcsr (%rsp)\n  fnstcw 4(%rsp)\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  ldmxcsr (%rsp)\n  fldcw 4(%rsp)\n  addq $8, %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  ret\n"
        ".size soft_switch, .-soft_switch\n");
/* soft_start: where a new fiber's first switch returns to; fn in rbx, argument in r12. */
void soft_start(void);
__asm__(".text\n"
        ".globl soft_start\n"
        ".hidden soft_start\n"
        ".type soft_start, @function\n"
        "soft_start:\n"
        "  movq %r12, %rdi\n  callq *%rbx\n  ud2\n"
        ".size soft_start, .-soft_start\n");

static void *first_frame(uint8_t *top, soft_fiber_fn fn, void *argument)
{
    uint64_t *sp = (uint64_t *)top;
    uint32_t mxcsr;
    uint16_t control;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(control));
    *--sp = 0; /* alignment: soft_start begins with rsp = 16n */
    *--sp = 0;
    *--sp = (uint64_t)(uintptr_t)soft_start;
    *--sp = 0;                             /* rbp */
    *--sp = (uint64_t)(uintptr_t)fn;       /* rbx */
    *--sp = (uint64_t)(uintptr_t)argument; /* r12 */
    *--sp = 0;                             /* r13 */
    *--sp = 0;                             /* r14 */
    *--sp = 0;                             /* r15 */
    *--sp = mxcsr | (uint64_t)control << 32;
    return sp;
}
#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl soft_switch\n"
        ".hidden soft_switch\n"
        ".type soft_switch, %function\n"
        "soft_switch:\n"
        "  sub sp, sp, #160\n"
        "  stp x19, x20, [sp, #0]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
        "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
        "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n"
        "  stp d14, d15, [sp, #144]\n"
        "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
        "  ldp x19, x20, [sp, #0]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
        "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
        "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n"
        "  ldp d14, d15, [sp, #144]\n"
        "  add sp, sp, #160\n  ret\n"
        ".size soft_switch, .-soft_switch\n");
void soft_start(void);
__asm__(".text\n"
        ".globl soft_start\n"
        ".hidden soft_start\n"
        ".type soft_start, %function\n"
        "soft_start:\n"
        "  mov x0, x20\n  blr x19\n  brk #1\n"
        ".size soft_start, .-soft_start\n");

static void *first_frame(uint8_t *top, soft_fiber_fn fn, void *argument)
{
    uint64_t *sp = (uint64_t *)(top - 160);
    memset(sp, 0, 160);
    sp[0] = (uint64_t)(uintptr_t)fn;          /* x19 */
    sp[1] = (uint64_t)(uintptr_t)argument;    /* x20 */
    sp[11] = (uint64_t)(uintptr_t)soft_start; /* x30 */
    return sp;
}
#else
#error "softgpu's fibers know x86-64 and aarch64"
#endif

static bool find_home(struct soft_fibers *fibers)
{
    pthread_attr_t attributes;
    void *lowest = NULL;
    size_t bytes = 0, guard = 0;
    if (pthread_getattr_np(pthread_self(), &attributes))
        return false;
    bool found = !pthread_attr_getstack(&attributes, &lowest, &bytes) &&
                 !pthread_attr_getguardsize(&attributes, &guard);
    pthread_attr_destroy(&attributes);
    fibers->home.stack = lowest;
    fibers->home.stack_bytes = bytes;
    fibers->home_guard_bytes = guard;
    return found;
}

bool soft_fibers_create(struct soft_fibers *fibers)
{
    memset(fibers, 0, sizeof *fibers);
    if (!find_home(fibers))
        return false;
    void *mapping = mmap(NULL, (size_t)SOFT_FIBERS * SOFT_FIBER_STACK, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED)
        return false;
    fibers->mapping = mapping;
    for (uint32_t i = 0; i < SOFT_FIBERS; i++) {
        struct soft_fiber *fiber = &fibers->fibers[i];
        uint8_t *base = fibers->mapping + (size_t)i * SOFT_FIBER_STACK;
        if (mprotect(base, GUARD, PROT_NONE)) {
            soft_fibers_destroy(fibers);
            return false;
        }
        fiber->stack = base + GUARD;
        fiber->stack_bytes = SOFT_FIBER_STACK - GUARD;
    }
    return true;
}

void soft_fibers_destroy(struct soft_fibers *fibers)
{
    if (fibers->mapping)
        munmap(fibers->mapping, (size_t)SOFT_FIBERS * SOFT_FIBER_STACK);
    fibers->mapping = NULL;
}

bool soft_fibers_guards(const struct soft_fibers *fibers, const void *address)
{
    uintptr_t below = (uintptr_t)fibers->home.stack - (uintptr_t)address;
    if (below - 1 < fibers->home_guard_bytes)
        return true;
    uintptr_t offset = (uintptr_t)address - (uintptr_t)fibers->mapping; /* huge if it lies lower */
    return offset < (uintptr_t)SOFT_FIBERS * SOFT_FIBER_STACK && offset % SOFT_FIBER_STACK < GUARD;
}

void soft_fiber_prepare(struct soft_fibers *fibers, uint32_t index, soft_fiber_fn fn,
                        void *argument)
{
    struct soft_fiber *fiber = &fibers->fibers[index];
    fiber->stack_pointer = first_frame(fiber->stack + fiber->stack_bytes, fn, argument);
    fiber->fake_stack = NULL;
}

static void switch_to(struct soft_fiber *from, struct soft_fiber *to, bool for_good)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->fake_stack, to->stack, to->stack_bytes);
#endif
    soft_switch(&from->stack_pointer, to->stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
    (void)for_good;
}

void soft_fiber_begin(struct soft_fibers *fibers, uint32_t index)
{
#if defined(__SANITIZE_ADDRESS__)
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(NULL, &bottom, &bytes);
    fibers->home.stack = (uint8_t *)bottom;
    fibers->home.stack_bytes = bytes;
#endif
    (void)fibers;
    (void)index;
}

void soft_fiber_enter(struct soft_fibers *fibers, uint32_t index)
{
    switch_to(&fibers->home, &fibers->fibers[index], false);
}

void soft_fiber_back(struct soft_fibers *fibers, uint32_t index)
{
    switch_to(&fibers->fibers[index], &fibers->home, false);
}

void soft_fiber_end(struct soft_fibers *fibers, uint32_t index)
{
    switch_to(&fibers->fibers[index], &fibers->home, true);
}

void soft_fiber_leave(struct soft_fibers *fibers)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(NULL, fibers->home.stack, fibers->home.stack_bytes);
#endif
    (void)fibers;
}

void soft_fiber_jumped(struct soft_fibers *fibers)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fibers->home.fake_stack, NULL, NULL);
#endif
    (void)fibers;
}
