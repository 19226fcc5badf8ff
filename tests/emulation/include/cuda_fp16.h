// Half precision for emulated kernels: one rounding after each operation, as on the device.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

struct half {
  uint16_t bits;
  half() = default;
  half(float value) {
    uint32_t f;
    std::memcpy(&f, &value, 4);
    uint32_t sign = f >> 16 & 0x8000, magnitude = f & 0x7fffffff;
    if (magnitude >= 0x7f800000) {
      bits = sign | 0x7c00 | (magnitude > 0x7f800000 ? 0x200 : 0);
    } else if (magnitude >= 0x477ff000) {
      bits = sign | 0x7c00;
    } else if (magnitude < 0x38800000) {
      // Below the smallest normal number: rounded on the grid of 2^-24.
      float scaled = std::nearbyint(std::fabs(value) * 16777216.0f);
      bits = sign | static_cast<uint16_t>(scaled);
    } else {
      uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
      bits = sign | ((rounded - 0x38000000) >> 13);
    }
  }
  half(double value) : half(static_cast<float>(value)) {}
  half(int value) : half(static_cast<float>(value)) {}
  operator float() const {
    uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 0) {
      float small = fraction / 16777216.0f;
      return sign ? -small : small;
    }
    uint32_t f = exponent == 31 ? sign | 0x7f800000 | fraction << 13 : sign | (exponent + 112) << 23 | fraction << 13;
    float value;
    std::memcpy(&value, &f, 4);
    return value;
  }
};
using __half = half;

inline half operator+(half a, half b) { return half(float(a) + float(b)); }
inline half operator-(half a, half b) { return half(float(a) - float(b)); }
inline half operator*(half a, half b) { return half(float(a) * float(b)); }
inline half operator/(half a, half b) { return half(float(a) / float(b)); }
inline half operator-(half a) { return half(-float(a)); }
inline bool operator<(half a, half b) { return float(a) < float(b); }
inline bool operator>(half a, half b) { return float(a) > float(b); }
inline bool operator<=(half a, half b) { return float(a) <= float(b); }
inline bool operator>=(half a, half b) { return float(a) >= float(b); }
inline bool operator==(half a, half b) { return float(a) == float(b); }
inline bool operator!=(half a, half b) { return float(a) != float(b); }
inline bool __hgt(half a, half b) { return float(a) > float(b); }
inline bool __hlt(half a, half b) { return float(a) < float(b); }
inline half __float2half(float a) { return half(a); }
inline half __float2half_rn(float a) { return half(a); }
inline float __half2float(half a) { return a; }
inline half __hmax(half a, half b) { return float(a) > float(b) ? a : b; }
inline half __hmin(half a, half b) { return float(a) < float(b) ? a : b; }
inline half __hfma(half a, half b, half c) { return half(std::fmaf(a, b, c)); }
inline half hexp(half a) { return half(std::exp(float(a))); }
inline half hlog(half a) { return half(std::log(float(a))); }
inline half hsqrt(half a) { return half(std::sqrt(float(a))); }
inline half hrsqrt(half a) { return half(1.0f / std::sqrt(float(a))); }
inline half htanh(half a) { return half(std::tanh(float(a))); }
inline half hfloor(half a) { return half(std::floor(float(a))); }

struct alignas(4) half2 {
  half x, y;
};
using __half2 = half2;
inline half2 make_half2(half x, half y) { return {x, y}; }
inline half2 __halves2half2(half x, half y) { return {x, y}; }
