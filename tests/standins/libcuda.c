/* A stand-in for NVIDIA's libcuda.so.1, for tests of PyCUDA without a GPU: device memory is memory of this process,
 * asynchronous work waits for its stream to be synchronised, and every broken rule is counted. Names: cuda.h.
 * Built and used by scripts/check_pycuda.py. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, ILLEGAL = 700, UNSUPPORTED = 801 };
enum { GPUS = 2, BLOCKS = 4096, DEPTH = 64, WORKS = 4096, STREAMS = 64 };

typedef void (*kernel_t)(void *);
typedef struct { void *target; const void *source; size_t size; kernel_t kernel; void *argument; } work_t;
typedef struct { int open, count; work_t works[WORKS]; } stream_t;
typedef struct { char *start; size_t size; } block_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static block_t device_blocks[BLOCKS], host_blocks[BLOCKS];
static stream_t streams[STREAMS];
static int retained[GPUS], faults;
static char fault[256] = "";
static size_t used, memory = (size_t)1 << 30;
static __thread void *stack[DEPTH];
static __thread int depth;

static int wrong(const char *what, int code) {
  faults++;
  snprintf(fault, sizeof fault, "%s", what);
  return code;
}
static block_t *find(block_t *blocks, const void *address, size_t size) {
  for (int i = 0; i < BLOCKS; i++)
    if (blocks[i].start && blocks[i].start <= (const char *)address &&
        (const char *)address + size <= blocks[i].start + blocks[i].size) return &blocks[i];
  return 0;
}
static block_t *add(block_t *blocks, size_t size) {
  for (int i = 0; i < BLOCKS; i++)
    if (!blocks[i].start) {
      if (posix_memalign((void **)&blocks[i].start, 512, size)) return 0;
      memset(blocks[i].start, 0xA5, size);
      blocks[i].size = size;
      return &blocks[i];
    }
  return 0;
}
static int drop(block_t *blocks, void *address, const char *what) {
  for (int i = 0; i < BLOCKS; i++)
    if (blocks[i].start && blocks[i].start == address) {
      if (blocks == device_blocks) used -= blocks[i].size;
      free(blocks[i].start);
      blocks[i].start = 0;
      return OK;
    }
  return wrong(what, INVALID_VALUE);
}
#define CONTEXT(what) if (!depth) return wrong(what ": no context is current in this thread", INVALID_CONTEXT)

int cuInit(unsigned flags) { (void)flags; return OK; }
int cuDriverGetVersion(int *v) { *v = 13000; return OK; }
int cuDeviceGetCount(int *n) { *n = GPUS; return OK; }
int cuDeviceGet(int *d, int i) { *d = i; return i < GPUS ? OK : INVALID_DEVICE; }
int cuDeviceGetName(char *name, int size, int d) { snprintf(name, size, "Stand-in %d", d); return OK; }
int cuDeviceComputeCapability(int *major, int *minor, int d) { (void)d; *major = 8; *minor = 9; return OK; }
int cuDeviceTotalMem_v2(size_t *n, int d) { (void)d; *n = memory; return OK; }
int cuDevicePrimaryCtxRetain(void **c, int d) { retained[d]++; *c = &retained[d]; return OK; }
int cuDevicePrimaryCtxRelease_v2(int d) { retained[d]--; return OK; }
int cuCtxPushCurrent_v2(void *c) { if (depth == DEPTH) return INVALID_VALUE; stack[depth++] = c; return OK; }
int cuCtxPopCurrent_v2(void **c) { CONTEXT("cuCtxPopCurrent"); *c = stack[--depth]; return OK; }
int cuCtxGetDevice(int *d) { CONTEXT("cuCtxGetDevice"); *d = (int)((int *)stack[depth - 1] - retained); return OK; }
int cuGetErrorString(int code, const char **text) {
  *text = code == OUT_OF_MEMORY ? "out of memory" : code == INVALID_CONTEXT ? "invalid device context"
        : code == ILLEGAL ? "an illegal memory access was encountered" : "invalid argument";
  return OK;
}
int cuMemGetInfo_v2(size_t *available, size_t *total) {
  CONTEXT("cuMemGetInfo");
  *available = memory - used; *total = memory;
  return OK;
}
int cuMemAlloc_v2(uint64_t *p, size_t size) {
  CONTEXT("cuMemAlloc");
  pthread_mutex_lock(&lock);
  block_t *b = used + size > memory ? 0 : add(device_blocks, size);
  if (b) used += size;
  pthread_mutex_unlock(&lock);
  if (!b) return OUT_OF_MEMORY;
  *p = (uint64_t)(uintptr_t)b->start;
  return OK;
}
int cuMemFree_v2(uint64_t p) {
  CONTEXT("cuMemFree");
  pthread_mutex_lock(&lock);
  int code = drop(device_blocks, (void *)(uintptr_t)p, "cuMemFree of what is not allocated");
  pthread_mutex_unlock(&lock);
  return code;
}
int cuMemHostAlloc(void **p, size_t size, unsigned flags) {
  (void)flags;
  CONTEXT("cuMemHostAlloc");
  pthread_mutex_lock(&lock);
  block_t *b = add(host_blocks, size);
  pthread_mutex_unlock(&lock);
  if (!b) return OUT_OF_MEMORY;
  *p = b->start;
  return OK;
}
int cuMemFreeHost(void *p) {
  CONTEXT("cuMemFreeHost");
  pthread_mutex_lock(&lock);
  int code = drop(host_blocks, p, "cuMemFreeHost of what is not allocated");
  pthread_mutex_unlock(&lock);
  return code;
}
int cuStreamCreate(void **s, unsigned flags) {
  (void)flags;
  CONTEXT("cuStreamCreate");
  for (int i = 0; i < STREAMS; i++)
    if (!streams[i].open) { streams[i].open = 1; streams[i].count = 0; *s = &streams[i]; return OK; }
  return OUT_OF_MEMORY;
}
int cuStreamDestroy_v2(void *s) {
  CONTEXT("cuStreamDestroy");
  stream_t *stream = s;
  if (stream->count) wrong("a stream was destroyed with work in it", OK);
  stream->open = 0;
  return OK;
}
static int queue(stream_t *s, work_t work) {
  if (!s || !s->open || s->count == WORKS) return wrong("work for no stream of one's own", INVALID_VALUE);
  s->works[s->count++] = work;
  return OK;
}
int cuMemcpyHtoDAsync_v2(uint64_t target, const void *source, size_t size, void *s) {
  CONTEXT("cuMemcpyHtoDAsync");
  if (!find(host_blocks, source, size)) wrong("cuMemcpyHtoDAsync from memory that is not pinned", OK);
  return queue(s, (work_t){(void *)(uintptr_t)target, source, size, 0, 0});
}
int cuMemcpyDtoHAsync_v2(void *target, uint64_t source, size_t size, void *s) {
  CONTEXT("cuMemcpyDtoHAsync");
  if (!find(host_blocks, target, size)) wrong("cuMemcpyDtoHAsync to memory that is not pinned", OK);
  return queue(s, (work_t){target, (const void *)(uintptr_t)source, size, 0, 0});
}
int cuMemcpyDtoDAsync_v2(uint64_t target, uint64_t source, size_t size, void *s) {
  CONTEXT("cuMemcpyDtoDAsync");
  if (target < source + size && source < target + size) wrong("cuMemcpyDtoDAsync between pieces that overlap", OK);
  return queue(s, (work_t){(void *)(uintptr_t)target, (const void *)(uintptr_t)source, size, 0, 0});
}
int cuStreamSynchronize(void *s) {
  CONTEXT("cuStreamSynchronize");
  stream_t *stream = s;
  int count = stream->count;
  stream->count = 0;
  for (int i = 0; i < count; i++) {
    work_t w = stream->works[i];
    if (w.kernel) { w.kernel(w.argument); continue; }
    int in = find(device_blocks, w.target, w.size) && find(host_blocks, w.source, w.size);
    int out = find(host_blocks, w.target, w.size) && find(device_blocks, w.source, w.size);
    int inside = find(device_blocks, w.target, w.size) && find(device_blocks, w.source, w.size);
    if (!in && !out && !inside) return wrong("a copy touches memory that is not allocated", ILLEGAL);
    memcpy(w.target, w.source, w.size);
  }
  return OK;
}

/* For the tests. */
int standin_launch(void *s, kernel_t kernel, void *argument) { return queue(s, (work_t){0, 0, 0, kernel, argument}); }
int standin_allocated(const void *address, size_t size) { return find(device_blocks, address, size) != 0; }
int standin_has_context(void) { return depth > 0; }
void standin_set_memory(size_t bytes) { memory = bytes; }
int standin_faults(char *text, int size) { snprintf(text, size, "%s", fault); return faults; }
void standin_live(int *device, int *pinned, int *open) {
  *device = *pinned = *open = 0;
  for (int i = 0; i < BLOCKS; i++) *device += device_blocks[i].start != 0, *pinned += host_blocks[i].start != 0;
  for (int i = 0; i < STREAMS; i++) *open += streams[i].open;
}
