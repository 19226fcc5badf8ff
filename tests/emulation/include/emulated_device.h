// Runs CUDA C++ kernels on the CPU: each thread of a block is a fiber, barriers and shuffles switch between them.
//
// Threads run one at a time, in the order of their numbers, from barrier to barrier; blocks run one after another. That is
// one of the orders that a GPU allows, so a right kernel gives the right answer, and a missing barrier a wrong one mostly.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __restrict__ __restrict
#define __align__(n) alignas(n)

namespace emulated {

struct Index {
  int x, y, z;
};
static Index thread_index, block_index, block_size, grid_size;

enum State { RUNS, WAITS_BLOCK, WAITS_WARP, DONE };
struct Fiber {
  void* stack_pointer;
  State state;
  Index index;
};
static std::vector<Fiber> fibers;
static std::vector<char> stacks;
static void* scheduler_pointer;
static int current;
static void (*entry)(void**);
static void** arguments;
static const size_t STACK = 64 * 1024;
static uint64_t exchanged[1024];

// Saves the registers that a call preserves, swaps stacks, restores them.
extern "C" void emulated_switch(void** from, void** to) __attribute__((visibility("hidden")));
__asm__(
    ".text\n.hidden emulated_switch\n.globl emulated_switch\n.type emulated_switch,@function\nemulated_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq (%rsi), %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");

static void pause(State state) {
  Fiber& fiber = fibers[current];
  fiber.state = state;
  emulated_switch(&fiber.stack_pointer, &scheduler_pointer);
}

static void body() {
  entry(arguments);
  pause(DONE);
  std::abort();
}

static void run_block(int threads) {
  for (int n = 0; n < threads; ++n) {
    Fiber& fiber = fibers[n];
    uintptr_t top = reinterpret_cast<uintptr_t>(&stacks[(n + 1) * STACK]) & ~uintptr_t(63);
    // The entry is "returned" to: the stack must then be 8 off 16, as after a call.
    void** stack = reinterpret_cast<void**>(top - 16);
    *stack = reinterpret_cast<void*>(body);
    fiber.stack_pointer = stack - 6;
    fiber.state = RUNS;
    fiber.index = {n % block_size.x, n / block_size.x % block_size.y, n / (block_size.x * block_size.y)};
  }
  for (;;) {
    bool alive = false;
    for (current = 0; current < threads; ++current) {
      if (fibers[current].state == RUNS) {
        thread_index = fibers[current].index;
        emulated_switch(&scheduler_pointer, &fibers[current].stack_pointer);
      }
    }
    bool warps = false;
    for (int n = 0; n < threads; ++n) warps |= fibers[n].state == WAITS_WARP;
    for (int n = 0; n < threads; ++n) {
      State& state = fibers[n].state;
      if (state == (warps ? WAITS_WARP : WAITS_BLOCK)) state = RUNS;
      alive |= state != DONE;
    }
    if (!alive) return;
  }
}

static void launch(void (*function)(void**), void** given, const unsigned* grid, const unsigned* block) {
  block_size = {int(block[0]), int(block[1]), int(block[2])};
  grid_size = {int(grid[0]), int(grid[1]), int(grid[2])};
  int threads = block_size.x * block_size.y * block_size.z;
  if (int(fibers.size()) < threads) {
    fibers.resize(threads);
    stacks.resize((threads + 1) * STACK);
  }
  entry = function;
  arguments = given;
  // Blocks may run in any order: one that writes another's results is found where they run in both.
  bool backwards = std::getenv("EMULATED_CUDA_BACKWARDS") != nullptr;
  int count = grid_size.x * grid_size.y * grid_size.z;
  for (int n = 0; n < count; ++n) {
    int place = backwards ? count - 1 - n : n;
    block_index = {place % grid_size.x, place / grid_size.x % grid_size.y, place / (grid_size.x * grid_size.y)};
    run_block(threads);
  }
}

template <class T>
static T exchange(T value, int source) {
  static_assert(sizeof(T) <= 8, "at most 64 bits are shuffled");
  int mine = current;
  std::memcpy(&exchanged[mine], &value, sizeof(T));
  pause(WAITS_WARP);
  T found;
  std::memcpy(&found, &exchanged[(mine & ~31) + source], sizeof(T));
  pause(WAITS_WARP);
  return found;
}

}  // namespace emulated

#define threadIdx emulated::thread_index
#define blockIdx emulated::block_index
#define blockDim emulated::block_size
#define gridDim emulated::grid_size

static inline void __syncthreads() { emulated::pause(emulated::WAITS_BLOCK); }
static inline void __syncwarp(unsigned = ~0u) { emulated::pause(emulated::WAITS_WARP); }
static inline unsigned __activemask() { return ~0u; }
template <class T>
static inline T __shfl_sync(unsigned, T value, int source, int width = 32) {
  int lane = emulated::current & 31, base = lane & ~(width - 1);
  return emulated::exchange(value, base + (source & (width - 1)));
}
template <class T>
static inline T __shfl_down_sync(unsigned, T value, unsigned delta, int width = 32) {
  int lane = emulated::current & 31, inside = lane & (width - 1);
  return emulated::exchange(value, inside + int(delta) < width ? lane + int(delta) : lane);
}
template <class T>
static inline T __shfl_up_sync(unsigned, T value, unsigned delta, int width = 32) {
  int lane = emulated::current & 31, inside = lane & (width - 1);
  return emulated::exchange(value, inside >= int(delta) ? lane - int(delta) : lane);
}
template <class T>
static inline T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
  return emulated::exchange(value, (emulated::current & 31) ^ mask);
}

#define EMULATED_VECTOR(type, name)                                                                     \
  struct alignas(sizeof(type)) name##1 { type x; };                                                     \
  struct alignas(2 * sizeof(type)) name##2 { type x, y; };                                              \
  struct name##3 { type x, y, z; };                                                                     \
  struct alignas(4 * sizeof(type) > 16 ? 16 : 4 * sizeof(type)) name##4 { type x, y, z, w; };           \
  static inline name##1 make_##name##1(type x) { return {x}; }                                          \
  static inline name##2 make_##name##2(type x, type y) { return {x, y}; }                               \
  static inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                    \
  static inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

EMULATED_VECTOR(signed char, char)
EMULATED_VECTOR(unsigned char, uchar)
EMULATED_VECTOR(short, short)
EMULATED_VECTOR(unsigned short, ushort)
EMULATED_VECTOR(int, int)
EMULATED_VECTOR(unsigned int, uint)
EMULATED_VECTOR(long long, longlong)
EMULATED_VECTOR(unsigned long long, ulonglong)
EMULATED_VECTOR(float, float)
EMULATED_VECTOR(double, double)

using std::max;
using std::min;
static inline float max(float a, double b) { return std::max(a, float(b)); }
static inline float min(float a, double b) { return std::min(a, float(b)); }
static inline long max(long a, int b) { return std::max<long>(a, b); }
static inline long min(long a, int b) { return std::min<long>(a, b); }
// glibc declares functions of the device's names for itself.
#define __expf emulated_expf
#define __logf emulated_logf
#define __sinf emulated_sinf
#define __cosf emulated_cosf
#define __powf emulated_powf
static inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
static inline float emulated_expf(float a) { return std::exp(a); }
static inline float emulated_logf(float a) { return std::log(a); }
static inline float emulated_sinf(float a) { return std::sin(a); }
static inline float emulated_cosf(float a) { return std::cos(a); }
static inline float emulated_powf(float a, float b) { return std::pow(a, b); }
static inline float fdividef(float a, float b) { return a / b; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline int __float_as_int(float a) {
  int bits;
  std::memcpy(&bits, &a, 4);
  return bits;
}
static inline float __int_as_float(int bits) {
  float a;
  std::memcpy(&a, &bits, 4);
  return a;
}
template <class T>
static inline T __ldg(const T* place) {
  return *place;
}
template <class T, class U>
static inline T atomicAdd(T* place, U value) {
  T before = *place;
  *place = before + value;
  return before;
}
