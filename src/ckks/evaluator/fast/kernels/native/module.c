// The kernels as a module of Node (Node-API), for Linux on x86-64, on the memory of the WebAssembly kernels: programs,
// control block and the life of a thread are those of ../assembly/work.ts.

#define _GNU_SOURCE
#define NAPI_VERSION 8
#include <linux/futex.h>
#include <node_api.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef void Execute(uint8_t *base, const uint32_t *calls, uint32_t scratch);
Execute execute8, execute16;

typedef _Atomic uint32_t Word;

/** The control block's and a phase's parts, in words. */
enum { EPOCH = 0, INSIDE = 16, PROGRAM = 48, FAILED = 49 };
enum { NEXT = 0, DONE = 16, COUNT = 32, TASKS = 33, PHASE = 48, HEAD = 16 };
#define STOP UINT32_MAX

/** Looks at a counter before a thread goes to sleep: some tens of microseconds. */
enum { SPINS = 20000 };
/** Of sleep before a thread looks whether another one died. */
static const struct timespec NAP = {0, 100000000};

static void sleepWhile(Word *word, uint32_t value, const struct timespec *most) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, most, 0, 0);
}

static void wake(Word *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, 0, 0, 0); }

static void takePart(Execute *execute, uint8_t *base, Word *control, uint32_t scratch) {
  const uint32_t *program = (const uint32_t *)(base + control[PROGRAM]);
  Word *phase = (Word *)(program + HEAD);
  for (Word *end = phase + program[0] * PHASE; phase < end; phase += PHASE) {
    const uint32_t count = phase[COUNT];
    const uint32_t *tasks = (const uint32_t *)(base + phase[TASKS]);
    for (uint32_t task; (task = atomic_fetch_add(phase + NEXT, 1)) < count;) {
      execute(base, (const uint32_t *)(base + tasks[task]), scratch);
      if (atomic_fetch_add(phase + DONE, 1) + 1 == count) wake(phase + DONE);
    }
    uint32_t spins = 0;
    for (uint32_t done; (done = phase[DONE]) < count;) {
      __builtin_ia32_pause();
      if (++spins < SPINS) continue;
      if (control[FAILED]) return;
      sleepWhile(phase + DONE, done, &NAP);
    }
  }
}

/**
 * Takes part in programs after `seen` until there was none for a while: gives the control block's last word. Sleeping is
 * left to JavaScript, which can be ended there.
 */
static uint32_t serve(Execute *execute, uint8_t *base, Word *control, uint32_t scratch, uint32_t seen) {
  for (;;) {
    uint32_t epoch = control[EPOCH];
    for (uint32_t spins = 0; !(epoch & 1) || epoch == seen; epoch = control[EPOCH]) {
      if (++spins == SPINS) return epoch;
      __builtin_ia32_pause();
    }
    if (epoch == STOP) return epoch;
    seen = epoch;
    // The leader closes a program, then waits until nobody is inside: nobody reads it afterwards.
    atomic_fetch_add(control + INSIDE, 1);
    if (control[EPOCH] == epoch) takePart(execute, base, control, scratch);
    atomic_fetch_sub(control + INSIDE, 1);
  }
}

/** Takes part in the program that was opened and closes it. */
static uint32_t lead(Execute *execute, uint8_t *base, Word *control, uint32_t scratch) {
  const uint32_t epoch = control[EPOCH];
  takePart(execute, base, control, scratch);
  control[EPOCH] = epoch == STOP - 2 ? 0 : epoch + 1;
  while (control[INSIDE] && !control[FAILED]) __builtin_ia32_pause();
  return control[FAILED];
}

/** The arguments of every function: the memory as words, LANES, and numbers or the words of a task. */
typedef struct {
  Execute *execute;
  uint8_t *base;
  uint32_t numbers[3];
  const uint32_t *calls;
} Arguments;

static int argumentsOf(napi_env env, napi_callback_info info, Arguments *out) {
  napi_value argv[5], buffer;
  size_t argc = 5, length, offset;
  napi_typedarray_type type;
  uint32_t lanes;
  void *data;
  *out = (Arguments){0};
  if (napi_get_cb_info(env, info, &argc, argv, 0, 0) != napi_ok || argc < 3 ||
      napi_get_typedarray_info(env, argv[0], &type, &length, &data, &buffer, &offset) != napi_ok ||
      napi_get_value_uint32(env, argv[1], &lanes) != napi_ok || (lanes != 8 && lanes != 16)) {
    napi_throw_type_error(env, 0, "expected the memory's words, 8 or 16 lanes and what to do");
    return 0;
  }
  out->execute = lanes == 16 ? execute16 : execute8;
  out->base = data;
  if (napi_get_typedarray_info(env, argv[2], &type, &length, &data, &buffer, &offset) == napi_ok) out->calls = data;
  else
    for (size_t k = 2; k < argc; k++) napi_get_value_uint32(env, argv[k], &out->numbers[k - 2]);
  return 1;
}

static napi_value number(napi_env env, uint32_t value) {
  napi_value out = 0;
  napi_create_uint32(env, value, &out);
  return out;
}

/** run(words, lanes, calls): the calls of one task, at once. */
static napi_value runTask(napi_env env, napi_callback_info info) {
  Arguments a;
  if (argumentsOf(env, info, &a) && a.calls) a.execute(a.base, a.calls, 0);
  return 0;
}

/** serve(words, lanes, control, scratch, seen) */
static napi_value serveThread(napi_env env, napi_callback_info info) {
  Arguments a;
  if (!argumentsOf(env, info, &a)) return 0;
  return number(env, serve(a.execute, a.base, (Word *)(a.base + a.numbers[0]), a.numbers[1], a.numbers[2]));
}

/** lead(words, lanes, control, scratch) */
static napi_value leadThreads(napi_env env, napi_callback_info info) {
  Arguments a;
  if (!argumentsOf(env, info, &a)) return 0;
  return number(env, lead(a.execute, a.base, (Word *)(a.base + a.numbers[0]), a.numbers[1]));
}

NAPI_MODULE_INIT() {
  // 16 words a vector with AVX-512, 8 with AVX2, 0 where the processor has neither.
  __builtin_cpu_init();
  const int wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const uint32_t lanes = wide ? 16 : __builtin_cpu_supports("avx2") ? 8 : 0;
  napi_set_named_property(env, exports, "lanes", number(env, lanes));
  const struct {
    const char *name;
    napi_callback call;
  } functions[] = {{"run", runTask}, {"serve", serveThread}, {"lead", leadThreads}};
  for (int k = 0; k < 3; k++) {
    napi_value function;
    napi_create_function(env, functions[k].name, NAPI_AUTO_LENGTH, functions[k].call, 0, &function);
    napi_set_named_property(env, exports, functions[k].name, function);
  }
  return exports;
}
