// A stand-in for libcuda.so.1 with one device that runs emulated kernels (emulated_device.h) on the CPU.
//
// "Machine code" is a shared object. What is issued to a stream runs at once, in the order of issue; what is issued while
// a stream is captured becomes a graph, which runs when it is launched. Refused, as the driver refuses it: loading modules,
// taking memory and waiting on the host while this thread captures, waiting for events that were captured, captures that
// are not joined. Device memory cannot be touched from the host: it is mapped only while something of the device's runs.
// What the driver may do late is done late: a memset on the default stream happens when something waits for it. Every call that matters is a line of $EMULATED_CUDA_LOG.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))
typedef int Result;
enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, BAD_IMAGE = 200, NOT_FOUND = 500, NOT_READY = 600, UNSUPPORTED = 801,
       CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, CAPTURE_UNJOINED = 904, CAPTURED_EVENT = 907 };

namespace {

struct Node {
  std::function<void()> run;
  std::set<int> after;
};
struct Graph {
  std::vector<Node> nodes;
};
struct Stream;
struct Capture {
  Stream* origin;
  Graph* graph;
  std::set<Stream*> streams;
  int mode;
};
struct Stream {
  int number;
  unsigned flags;
  int priority;
  Capture* capture = nullptr;
  std::set<int> heads;
};
struct Event {
  unsigned flags;
  bool recorded = false, happened = false;
  double at = 0;
  Capture* capture = nullptr;
  std::set<int> heads;
};
struct Function {
  std::string name;
  void (*run)(void**, const unsigned*, const unsigned*);
  const int* sizes;
  int count;
  int dynamic = 49152;
};
struct Module {
  void* handle;
  std::map<std::string, Function> functions;
};

FILE* log_file() {
  static FILE* file = [] {
    const char* path = std::getenv("EMULATED_CUDA_LOG");
    return path ? std::fopen(path, "a") : nullptr;
  }();
  return file;
}
void note(const char* format, ...) {
  if (FILE* file = log_file()) {
    va_list values;
    va_start(values, format);
    std::vfprintf(file, format, values);
    va_end(values);
    std::fputc('\n', file);
    std::fflush(file);
  }
}

int context_storage, device_storage;
void* const CONTEXT = &context_storage;
thread_local void* current_context = nullptr;
thread_local Capture* thread_capture = nullptr;
int streams_made = 0;
Stream legacy{0, 0, 0};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
Stream* of(void* handle) {
  uintptr_t value = reinterpret_cast<uintptr_t>(handle);
  return value < 3 ? &legacy : static_cast<Stream*>(handle);
}
bool capturing() { return thread_capture != nullptr; }
Result refuse(const char* what) {
  note("refused %s while capturing", what);
  return CAPTURE_UNSUPPORTED;
}
// The device's memory: one range of addresses, without access from the host.
const size_t DEVICE_BYTES = size_t(16) << 30;
char* device_base = nullptr;
size_t device_used = 0;
std::map<void*, size_t> device_pieces;
std::multimap<size_t, void*> device_free;
void* take(size_t bytes) {
  size_t size = (std::max<size_t>(bytes, 1) + 4095) / 4096 * 4096;
  if (!device_base) {
    void* mapped = mmap(nullptr, DEVICE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    device_base = static_cast<char*>(mapped);
  }
  void* place;
  auto again = device_free.find(size);
  if (again != device_free.end()) {
    place = again->second;
    device_free.erase(again);
  } else {
    if (device_used + size > DEVICE_BYTES) return nullptr;
    place = device_base + device_used;
    device_used += size;
  }
  device_pieces[place] = size;
  return place;
}
bool on_device(const void* place) {
  const char* at = static_cast<const char*>(place);
  return device_base && at >= device_base && at < device_base + device_used;
}
int depth = 0;
void access(bool granted) {
  if (device_used) mprotect(device_base, device_used, granted ? PROT_READ | PROT_WRITE : PROT_NONE);
}
void perform(const std::function<void()>& run) {
  if (depth++ == 0) access(true);
  run();
  if (--depth == 0) access(false);
}
// Issued to the default stream, which the runtime's streams do not wait for.
std::vector<std::function<void()>> late;
void settle() {
  std::vector<std::function<void()>> now;
  now.swap(late);
  for (auto& run : now) perform(run);
}
void issue(Stream* stream, std::function<void()> run) {
  if (!stream->capture) {
    if (!(stream->flags & 1)) settle();
    perform(run);
    return;
  }
  Graph* graph = stream->capture->graph;
  graph->nodes.push_back({std::move(run), stream->heads});
  stream->heads = {static_cast<int>(graph->nodes.size()) - 1};
}

}  // namespace

API Result cuInit(unsigned) { return OK; }
API Result cuDriverGetVersion(int* version) { *version = 13000; return OK; }
API Result cuDeviceGetCount(int* count) { *count = 1; return OK; }
API Result cuDeviceGet(int* device, int index) { *device = index; return index ? INVALID : OK; }
API Result cuDeviceGetName(char* name, int size, int) { std::snprintf(name, size, "Emulated CUDA device"); return OK; }
API Result cuDeviceGetUuid_v2(char* uuid, int) { std::memset(uuid, 7, 16); return OK; }
API Result cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = size_t(8) << 30; return OK; }
API Result cuDeviceGetPCIBusId(char* id, int size, int) { std::snprintf(id, size, "0000:00:00.0"); return OK; }
API Result cuDeviceGetAttribute(int* value, int attribute, int) {
  switch (attribute) {
    case 1: *value = 1024; break;                // threads a block
    case 8: *value = 49152; break;               // shared memory a block
    case 10: *value = 32; break;                 // warp
    case 16: *value = 132; break;                // SMs
    case 75: *value = 9; break;                  // compute capability
    case 76: *value = 0; break;
    case 41: case 31: case 115: *value = 1; break;  // unified addressing, concurrent kernels, memory pools
    default: *value = 0;
  }
  return OK;
}
API Result cuDevicePrimaryCtxRetain(void** context, int) { *context = CONTEXT; return OK; }
API Result cuDevicePrimaryCtxRelease_v2(int) { return OK; }
API Result cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) { *flags = 0; *active = 1; return OK; }
API Result cuCtxGetCurrent(void** context) { *context = current_context; return OK; }
API Result cuCtxSetCurrent(void* context) { current_context = context; return OK; }
API Result cuCtxPushCurrent_v2(void* context) { current_context = context; return OK; }
API Result cuCtxPopCurrent_v2(void** context) { *context = current_context; return OK; }
API Result cuCtxGetDevice(int* device) { *device = 0; return OK; }
API Result cuCtxGetDevice_v2(int* device, void*) { *device = 0; return OK; }
API Result cuCtxGetId(void*, unsigned long long* id) { *id = 1; return OK; }
API Result cuCtxGetStreamPriorityRange(int* least, int* greatest) { *least = 0; *greatest = -5; return OK; }
API Result cuCtxSynchronize() {
  if (capturing()) return refuse("cuCtxSynchronize");
  settle();
  return OK;
}

API Result cuStreamCreateWithPriority(void** stream, unsigned flags, int priority) {
  *stream = new Stream{++streams_made, flags, priority};
  note("stream %d flags %u", streams_made, flags);
  return OK;
}
API Result cuStreamCreate(void** stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, 0); }
API Result cuStreamDestroy_v2(void*) { return OK; }
API Result cuStreamGetCtx(void*, void** context) { *context = CONTEXT; return OK; }
API Result cuStreamGetCtx_v2(void*, void** context, void** green) { *context = CONTEXT; if (green) *green = nullptr; return OK; }
API Result cuStreamGetDevice(void*, int* device) { *device = 0; return OK; }
API Result cuStreamGetFlags(void* stream, unsigned* flags) { *flags = of(stream)->flags; return OK; }
API Result cuStreamGetPriority(void* stream, int* priority) { *priority = of(stream)->priority; return OK; }
API Result cuStreamSynchronize(void* stream) {
  if (capturing() || of(stream)->capture) return refuse("cuStreamSynchronize");
  note("synchronize %d", of(stream)->number);
  if (!(of(stream)->flags & 1)) settle();
  return OK;
}
API Result cuStreamQuery(void*) { return OK; }
API Result cuStreamIsCapturing(void* stream, int* status) { *status = of(stream)->capture ? 1 : 0; return OK; }
API Result cuStreamGetCaptureInfo_v3(void* stream, int* status, uint64_t* id, void** graph, const void** nodes, const void** edges, size_t* count) {
  Capture* capture = of(stream)->capture;
  *status = capture ? 1 : 0;
  if (id) *id = capture ? reinterpret_cast<uintptr_t>(capture) : 0;
  if (graph) *graph = capture ? capture->graph : nullptr;
  if (nodes) *nodes = nullptr;
  if (edges) *edges = nullptr;
  if (count) *count = 0;
  return OK;
}
API Result cuStreamGetCaptureInfo_v2(void* stream, int* status, uint64_t* id, void** graph, const void** nodes, size_t* count) {
  return cuStreamGetCaptureInfo_v3(stream, status, id, graph, nodes, nullptr, count);
}
API Result cuThreadExchangeStreamCaptureMode(int*) { return OK; }
API Result cuStreamBeginCapture_v2(void* handle, int mode) {
  Stream* stream = of(handle);
  if (stream == &legacy || stream->capture) return refuse("cuStreamBeginCapture");
  stream->capture = thread_capture = new Capture{stream, new Graph, {stream}, mode};
  stream->heads.clear();
  note("begin capture %d mode %d", stream->number, mode);
  return OK;
}
API Result cuStreamEndCapture(void* handle, void** result) {
  Stream* origin = of(handle);
  Capture* capture = origin->capture;
  if (!capture || capture->origin != origin) return INVALID;
  std::set<int> joined, open = origin->heads;
  while (!open.empty()) {
    int node = *open.begin();
    open.erase(open.begin());
    if (joined.insert(node).second) open.insert(capture->graph->nodes[node].after.begin(), capture->graph->nodes[node].after.end());
  }
  bool all = true;
  for (Stream* stream : capture->streams) {
    for (int head : stream->heads) all = all && joined.count(head);
    stream->capture = nullptr;
    stream->heads.clear();
  }
  thread_capture = nullptr;
  note("end capture %d nodes %zu%s", origin->number, capture->graph->nodes.size(), all ? "" : " unjoined");
  *result = all ? capture->graph : nullptr;
  return all ? OK : CAPTURE_UNJOINED;
}
API Result cuStreamWaitEvent(void* handle, void* given, unsigned) {
  Stream* stream = of(handle);
  Event* event = static_cast<Event*>(given);
  if (event->capture) {
    if (event->capture != thread_capture) return CAPTURED_EVENT;
    if (!stream->capture) {
      stream->capture = event->capture;
      stream->heads.clear();
      event->capture->streams.insert(stream);
    }
    stream->heads.insert(event->heads.begin(), event->heads.end());
  } else if (stream->capture) {
    note("refused a captured stream that waits for an event from outside");
    return CAPTURE_INVALIDATED;
  }
  note("wait stream %d event %p", stream->number, given);
  return OK;
}

API Result cuEventCreate(void** event, unsigned flags) { *event = new Event{flags}; return OK; }
API Result cuEventDestroy_v2(void*) { return OK; }
API Result cuEventRecordWithFlags(void* given, void* handle, unsigned flags) {
  Event* event = static_cast<Event*>(given);
  Stream* stream = of(handle);
  note("record event %p stream %d flags %u", given, stream->number, flags);
  if (stream->capture && !(flags & 1)) {
    event->capture = stream->capture;
    event->heads = stream->heads;
    return OK;
  }
  if (!stream->capture && (flags & 1)) return INVALID;
  event->capture = nullptr;
  event->recorded = true;
  issue(stream, [event] {
    event->happened = true;
    event->at = now();
  });
  return OK;
}
API Result cuEventRecord(void* event, void* stream) { return cuEventRecordWithFlags(event, stream, 0); }
API Result cuEventQuery(void* event) { return static_cast<Event*>(event)->capture ? CAPTURED_EVENT : OK; }
API Result cuEventSynchronize(void* event) {
  if (capturing()) return refuse("cuEventSynchronize");
  return static_cast<Event*>(event)->capture ? CAPTURED_EVENT : OK;
}
API Result cuEventElapsedTime_v2(float* milliseconds, void* first, void* second) {
  Event *a = static_cast<Event*>(first), *b = static_cast<Event*>(second);
  if (a->flags & 2 || b->flags & 2) return INVALID;
  if (!a->happened || !b->happened) return NOT_READY;
  *milliseconds = static_cast<float>((b->at - a->at) * 1e3);
  return OK;
}
API Result cuEventElapsedTime(float* milliseconds, void* a, void* b) { return cuEventElapsedTime_v2(milliseconds, a, b); }

API Result cuMemAlloc_v2(void** place, size_t bytes) {
  if (capturing()) return refuse("cuMemAlloc");
  *place = take(bytes);
  if (*place) perform([&] { std::memset(*place, 0xA5, bytes); });
  note("allocate %zu", bytes);
  return *place ? OK : OUT_OF_MEMORY;
}
API Result cuMemFree_v2(void* place) {
  if (capturing()) return refuse("cuMemFree");
  note("free");
  settle();
  auto piece = device_pieces.find(place);
  if (piece == device_pieces.end()) return place ? INVALID : OK;
  device_free.insert({piece->second, place});
  device_pieces.erase(piece);
  return OK;
}
API Result cuMemAllocHost_v2(void** place, size_t bytes) {
  *place = std::aligned_alloc(512, (bytes + 511) / 512 * 512);
  return *place ? OK : OUT_OF_MEMORY;
}
API Result cuMemFreeHost(void* place) {
  if (capturing()) return refuse("cuMemFreeHost");
  std::free(place);
  return OK;
}
API Result cuMemGetInfo_v2(size_t* available, size_t* total) { *available = *total = size_t(8) << 30; return OK; }
API Result cuMemcpyAsync(void* target, const void* source, size_t bytes, void* stream) {
  issue(of(stream), [=] { std::memmove(target, source, bytes); });
  return OK;
}
API Result cuMemsetD8_v2(void* place, unsigned char value, size_t bytes) {
  late.push_back([=] { std::memset(place, value, bytes); });
  return OK;
}
API Result cuMemsetD8Async(void* place, unsigned char value, size_t bytes, void* stream) {
  issue(of(stream), [=] { std::memset(place, value, bytes); });
  return OK;
}
API Result cuPointerGetAttribute(void* value, int attribute, void* place) {
  if (attribute == 2) *static_cast<unsigned*>(value) = on_device(place) ? 2 : 1;
  else if (attribute == 9) *static_cast<int*>(value) = 0;          // its ordinal
  else if (attribute == 3 || attribute == 4) *static_cast<void**>(value) = place;
  else *static_cast<int*>(value) = 0;
  return OK;
}
API Result cuPointerGetAttributes(unsigned count, const int* attributes, void** values, void* place) {
  for (unsigned n = 0; n < count; ++n) cuPointerGetAttribute(values[n], attributes[n], place);
  return OK;
}

API Result cuModuleLoadData(void** result, const void* image) {
  if (capturing()) return refuse("cuModuleLoadData");
  // The image says how long it is: "EMUL", eight bytes of length, the shared object.
  const char* bytes = static_cast<const char*>(image);
  if (std::memcmp(bytes, "EMUL", 4)) return BAD_IMAGE;
  uint64_t length;
  std::memcpy(&length, bytes + 4, 8);
  char path[] = "/tmp/emulated_XXXXXX";
  int file = mkstemp(path);
  bool written = file >= 0 && write(file, bytes + 12, length) == static_cast<ssize_t>(length);
  if (file >= 0) close(file);
  void* handle = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (!handle) note("module: %s", dlerror());
  unlink(path);
  if (!handle) return BAD_IMAGE;
  note("load module");
  *result = new Module{handle, {}};
  return OK;
}
API Result cuModuleUnload(void*) { return OK; }
API Result cuModuleGetFunction(void** result, void* given, const char* name) {
  Module* module = static_cast<Module*>(given);
  std::string run = std::string(name) + "__run", sizes = std::string(name) + "__sizes", count = std::string(name) + "__count";
  auto function = reinterpret_cast<void (*)(void**, const unsigned*, const unsigned*)>(dlsym(module->handle, run.c_str()));
  if (!function) return NOT_FOUND;
  module->functions[name] = {name, function, static_cast<const int*>(dlsym(module->handle, sizes.c_str())),
                             *static_cast<const int*>(dlsym(module->handle, count.c_str()))};
  *result = &module->functions[name];
  return OK;
}
API Result cuFuncSetAttribute(void* given, int attribute, int value) {
  if (attribute == 8) static_cast<Function*>(given)->dynamic = value;
  return OK;
}
struct LaunchConfig {
  unsigned grid[3], block[3], shared;
  void* stream;
  void* attributes;
  unsigned count;
};
API Result cuLaunchKernelEx(const LaunchConfig* config, void* given, void** parameters, void**) {
  Function* function = static_cast<Function*>(given);
  Stream* stream = of(config->stream);
  if (capturing() && !stream->capture && stream == &legacy) return refuse("a launch on the default stream");
  unsigned threads = config->block[0] * config->block[1] * config->block[2];
  if (!threads || threads > 1024 || config->shared > static_cast<unsigned>(function->dynamic)) return INVALID;
  std::vector<std::vector<char>> held;
  for (int n = 0; n < function->count; ++n) {
    const char* value = static_cast<const char*>(parameters[n]);
    held.emplace_back(value, value + function->sizes[n]);
  }
  note("launch %s stream %d grid %u %u %u block %u %u %u%s", function->name.c_str(), stream->number, config->grid[0],
       config->grid[1], config->grid[2], config->block[0], config->block[1], config->block[2], stream->capture ? " captured" : "");
  LaunchConfig copy = *config;
  issue(stream, [=]() mutable {
    std::vector<void*> pointers;
    for (auto& value : held) pointers.push_back(value.data());
    function->run(pointers.data(), copy.grid, copy.block);
  });
  return OK;
}

struct InstantiateParams {
  uint64_t flags;
  void* upload;
  void* error_node;
  int result;
};
API Result cuGraphInstantiateWithParams(void** executable, void* graph, InstantiateParams* parameters) {
  if (parameters) parameters->result = 0;
  *executable = new Graph(*static_cast<Graph*>(graph));
  note("instantiate nodes %zu", static_cast<Graph*>(graph)->nodes.size());
  return OK;
}
API Result cuGraphInstantiateWithFlags(void** executable, void* graph, uint64_t) {
  return cuGraphInstantiateWithParams(executable, graph, nullptr);
}
API Result cuGraphUpload(void*, void*) { return OK; }
API Result cuGraphLaunch(void* executable, void* stream) {
  note("launch graph stream %d", of(stream)->number);
  if (of(stream)->capture) return refuse("cuGraphLaunch");
  settle();
  perform([&] {
    for (Node& node : static_cast<Graph*>(executable)->nodes) node.run();
  });
  return OK;
}
API Result cuGraphDestroy(void*) { return OK; }
API Result cuGraphExecDestroy(void*) { note("destroy graph"); return OK; }
API Result cuUserObjectCreate(void** object, void*, void (*)(void*), unsigned, unsigned) { *object = &device_storage; return OK; }
API Result cuUserObjectRelease(void*, unsigned) { return OK; }
API Result cuUserObjectRetain(void*, unsigned) { return OK; }
API Result cuGraphReleaseUserObject(void*, void*, unsigned) { return OK; }
API Result cuGraphRetainUserObject(void*, void*, unsigned, unsigned) { return OK; }

API Result cuGetErrorName(int code, const char** name) {
  static thread_local char text[32];
  std::snprintf(text, sizeof text, "CUDA_ERROR_%d", code);
  *name = text;
  return OK;
}
API Result cuGetErrorString(int code, const char** name) { return cuGetErrorName(code, name); }
API Result cuTensorMapEncodeTiled() { return UNSUPPORTED; }
API Result cuGetExportTable(const void**, const void*) { return NOT_FOUND; }

// What the emulation lacks is refused by name when it is called, not when it is looked up.
namespace {
const int STUBS = 640;
char stub_names[STUBS][64];
template <int n>
Result refuse_stub() {
  note("missing %s", stub_names[n]);
  return UNSUPPORTED;
}
template <int... n>
constexpr std::array<Result (*)(), sizeof...(n)> stubs_of(std::integer_sequence<int, n...>) { return {refuse_stub<n>...}; }
void* stub(const char* name) {
  static const auto all = stubs_of(std::make_integer_sequence<int, STUBS>());
  static int made = 0;
  for (int n = 0; n < made; ++n)
    if (!std::strcmp(stub_names[n], name)) return reinterpret_cast<void*>(all[n]);
  if (made == STUBS) return nullptr;
  std::snprintf(stub_names[made], sizeof stub_names[made], "%s", name);
  return reinterpret_cast<void*>(all[made++]);
}
}  // namespace
API Result cuGetProcAddress_v2(const char* name, void** function, int version, uint64_t, int* status) {
  static void* self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  void* found = nullptr;
  for (const char* suffix : {"_v3", "_v2", ""}) {
    if (!found) found = dlsym(self ? self : RTLD_DEFAULT, (std::string(name) + suffix).c_str());
  }
  if (!found) found = stub(name);
  *function = found;
  if (status) *status = found ? 0 : 1;
  return found ? OK : NOT_FOUND;
}
