// Tensor-core fragments for emulated kernels: every lane of a warp holds the whole fragment and does the whole product, which
// gives what the lanes of a GPU give together.
#pragma once
#include "cuda_fp16.h"

namespace nvcuda {
namespace wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int m, int n, int k, class T, class Layout = void>
struct fragment {
  float x[256];
};

template <class F>
static inline void fill_fragment(F& f, float value) {
  for (int i = 0; i < 256; ++i) f.x[i] = value;
}

template <class Use, class T>
static inline void load_matrix_sync(fragment<Use, 16, 16, 16, T, row_major>& f, const T* p, unsigned stride) {
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) f.x[i * 16 + j] = float(p[i * stride + j]);
}

template <class Use, class T>
static inline void load_matrix_sync(fragment<Use, 16, 16, 16, T, col_major>& f, const T* p, unsigned stride) {
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) f.x[i * 16 + j] = float(p[j * stride + i]);
}

template <class D, class A, class B, class C>
static inline void mma_sync(D& d, const A& a, const B& b, const C& c) {
  float sums[256];
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) {
      float sum = c.x[i * 16 + j];
      for (int k = 0; k < 16; ++k) sum += a.x[i * 16 + k] * b.x[k * 16 + j];
      sums[i * 16 + j] = sum;
    }
  std::memcpy(d.x, sums, sizeof(sums));
}

template <class T, class U>
static inline void store_matrix_sync(T* p, const fragment<accumulator, 16, 16, 16, U>& f, unsigned stride, layout_t) {
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) p[i * stride + j] = T(f.x[i * 16 + j]);
}

}  // namespace wmma
}  // namespace nvcuda
