/* Sizes of the work. LEAF and LANES decide bits; no other does, and each may be set by -D. */
#ifndef SMOOTHL1_SIZES_H
#define SMOOTHL1_SIZES_H

/* Elements of a leaf. Large enough that handing it out costs nothing beside the work (1 to 5
   microseconds); small enough that two float32 operands and a result (48 KiB) stay in a first-level
   cache while a second kernel reads them. */
#define SMOOTHL1_LEAF 4096
/* Lanes of a leaf's sum: two AVX-512 registers, four of AVX2, eight of SSE2, enough to hide the
   latency of an addition and few enough to stay in registers. */
#define SMOOTHL1_LANES 16

/* Terms that are written to a buffer before they are summed: few enough for the processor to work on
   the next chunk's misses meanwhile, enough to amortise the calls. A multiple of 8 LANES. */
#ifndef SMOOTHL1_CHUNK
  #define SMOOTHL1_CHUNK 256
#endif
/* Elements that are packed at a time, if they must be, or that several kernels read: the second
   finds them in the first-level cache. A multiple of CHUNK and of 16 LANES, at least FEW. */
#ifndef SMOOTHL1_BLOCK
  #define SMOOTHL1_BLOCK 1024
#endif
/* Leaves between two barriers, at which signals are checked and the tree is advanced: 8 million
   elements, milliseconds. A power of two, at least TILE. */
#ifndef SMOOTHL1_GROUP
  #define SMOOTHL1_GROUP 2048
#endif
/* Outputs of an ``axis`` reduction worked on side by side. A power of two. */
#ifndef SMOOTHL1_TILE
  #define SMOOTHL1_TILE 64
#endif
/* Elements of an output that is short: several of them are loaded and made into terms at once, which
   costs less than starting and finishing a leaf each. Less than LONG (lanes.pxd). */
#ifndef SMOOTHL1_FEW
  #define SMOOTHL1_FEW 512
#endif
/* Bytes of ``out`` from which on it is written past the caches, none of which would hold it, where that
   pays (cache.h); everywhere if the size is set. */
#ifndef SMOOTHL1_STREAM
  #define SMOOTHL1_STREAM (64 * 1024 * 1024)
#else
  #define SMOOTHL1_STREAMS
#endif
/* Elements from which on a job asks for memory ahead of its use, where that pays (cache.h), and how
   many bytes ahead. */
#ifndef SMOOTHL1_PREFETCHED
  #define SMOOTHL1_PREFETCHED (256 * 1024)
#endif
#ifndef SMOOTHL1_AHEAD
  #define SMOOTHL1_AHEAD 2048
#endif
/* Thresholds of a path that one loop serves: few enough for the stack of any thread. */
#ifndef SMOOTHL1_TOGETHER
  #define SMOOTHL1_TOGETHER 8
#endif
/* Elements worth a further thread: several microseconds of work, about ten times what forking and
   joining a waiting team costs. */
#ifndef SMOOTHL1_GRAIN
  #define SMOOTHL1_GRAIN 32768
#endif

#endif
