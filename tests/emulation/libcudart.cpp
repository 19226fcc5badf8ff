// A stand-in for libcudart.so.13: the calls that TVM's CUDA runtime makes, on the device of libcuda.cpp.
#include <cstdlib>
#include <cstring>

#define API extern "C" __attribute__((visibility("default")))
typedef int Result;
API Result cuMemAlloc_v2(void**, size_t);
API Result cuMemFree_v2(void*);
API Result cuMemAllocHost_v2(void**, size_t);
API Result cuMemFreeHost(void*);
API Result cuMemcpyAsync(void*, const void*, size_t, void*);
API Result cuStreamCreate(void**, unsigned);
API Result cuStreamSynchronize(void*);
API Result cuStreamWaitEvent(void*, void*, unsigned);
API Result cuStreamBeginCapture_v2(void*, int);
API Result cuStreamEndCapture(void*, void**);
API Result cuEventCreate(void**, unsigned);
API Result cuEventRecord(void*, void*);
API Result cuEventSynchronize(void*);
API Result cuEventElapsedTime_v2(float*, void*, void*);
API Result cuDeviceGetAttribute(int*, int, int);
API Result cuGraphInstantiateWithFlags(void**, void*, unsigned long);
API Result cuGraphLaunch(void*, void*);
API Result cuCtxSetCurrent(void*);
API Result cuDevicePrimaryCtxRetain(void**, int);

API Result cudaGetDeviceCount(int* count) { *count = 1; return 0; }
API Result cudaGetDevice(int* device) { *device = 0; return 0; }
API Result cudaSetDevice(int device) {
  void* context;
  cuDevicePrimaryCtxRetain(&context, 0);
  cuCtxSetCurrent(context);
  return device ? 101 : 0;
}
API Result cudaDeviceGetAttribute(int* value, int attribute, int device) {
  return device ? 101 : cuDeviceGetAttribute(value, attribute, device);
}
API Result cudaGetDeviceProperties(char* properties, int) {
  std::strcpy(properties, "Emulated CUDA device");
  return 0;
}
API Result cudaMalloc(void** place, size_t bytes) { return cuMemAlloc_v2(place, bytes); }
API Result cudaFree(void* place) { return cuMemFree_v2(place); }
API Result cudaMallocHost(void** place, size_t bytes) { return cuMemAllocHost_v2(place, bytes); }
API Result cudaFreeHost(void* place) { return cuMemFreeHost(place); }
API Result cudaMemGetInfo(size_t* available, size_t* total) { *available = *total = size_t(8) << 30; return 0; }
API Result cudaMemcpyAsync(void* target, const void* source, size_t bytes, int, void* stream) {
  return cuMemcpyAsync(target, source, bytes, stream);
}
API Result cudaMemcpyPeerAsync(void* target, int, const void* source, int, size_t bytes, void* stream) {
  return cuMemcpyAsync(target, source, bytes, stream);
}
API Result cudaStreamCreate(void** stream) { return cuStreamCreate(stream, 0); }
API Result cudaStreamCreateWithFlags(void** stream, unsigned flags) { return cuStreamCreate(stream, flags); }
API Result cudaStreamDestroy(void*) { return 0; }
API Result cudaStreamSynchronize(void* stream) { return cuStreamSynchronize(stream); }
API Result cudaStreamWaitEvent(void* stream, void* event, unsigned flags) { return cuStreamWaitEvent(stream, event, flags); }
API Result cudaStreamBeginCapture(void* stream, int mode) { return cuStreamBeginCapture_v2(stream, mode); }
API Result cudaStreamEndCapture(void* stream, void** graph) { return cuStreamEndCapture(stream, graph); }
API Result cudaEventCreate(void** event) { return cuEventCreate(event, 0); }
API Result cudaEventDestroy(void*) { return 0; }
API Result cudaEventRecord(void* event, void* stream) { return cuEventRecord(event, stream); }
API Result cudaEventSynchronize(void* event) { return cuEventSynchronize(event); }
API Result cudaEventElapsedTime(float* milliseconds, void* a, void* b) { return cuEventElapsedTime_v2(milliseconds, a, b); }
API Result cudaGraphInstantiate(void** executable, void* graph, unsigned long long flags) {
  return cuGraphInstantiateWithFlags(executable, graph, flags);
}
API Result cudaGraphLaunch(void* executable, void* stream) { return cuGraphLaunch(executable, stream); }
API Result cudaGraphDestroy(void*) { return 0; }
API Result cudaGraphExecDestroy(void*) { return 0; }
API Result cudaGetLastError() { return 0; }
API Result cudaPeekAtLastError() { return 0; }
API const char* cudaGetErrorName(int) { return "cudaErrorEmulated"; }
API const char* cudaGetErrorString(int) { return "an error of the emulated device"; }
