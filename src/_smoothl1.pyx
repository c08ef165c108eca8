"""Kernels, reductions and drivers of smoothl1, compiled once per instruction set.

Design
======

The data flows through four layers, in the order of this file.

1. *Point functions*: the mathematics, one formula each, inlined everywhere
   (``smoothl1/_smoothl1.pxd``).
2. *Leaf kernels*: plain typed loops over at most ``LEAF`` contiguous elements.
   GCC vectorises every one of them without ``-ffast-math``.
3. *Operands*: a leaf of any NumPy array (strided, broadcast, byte-swapped,
   unaligned, of another dtype) is packed into a small contiguous buffer; an
   array that is already contiguous and of the working dtype is read in place.
4. *Driver*: hands out leaves to threads and sums their results by a tree whose
   shape depends on the number of elements alone.

Two properties hold by construction and are what the tests check first.

*Same bits.* Element i of a leaf always goes to lane ``i % LANES``; the lanes are
folded in halves; leaves are summed by a perfect binary tree over the leaf index.
Nothing in that order depends on threads, vector width, strides or alignment. The
compiler may not contract ``a * b + c`` (``-ffp-contract=off``), because it would
do so on some instruction sets only.

*Accurate sums.* Terms are computed in the working dtype and summed in float64.
For float64 terms that alone would leave an error of one or two ulps, so the lanes and
the tree carry double-double sums up to the final, single rounding.

Operands are walked by code of this file rather than by ``NpyIter``: it keeps no state
between leaves, so that any thread can pack any leaf of any output at any time, without a
copy of an iterator per thread and without the GIL, and its conversions are vectorised
with the instruction set of the module. Where C order has short inner loops (a
Fortran-ordered (n, 4) array), ``transfer`` exchanges the two loops inside a leaf; packing
two such arrays with ``NpyIter`` alone takes about as long as the whole reduction here
(``Walk`` in ``asv_bench/benchmarks/layouts.py``).

References
----------
Girshick, "Fast R-CNN", ICCV 2015, equation 3 (the loss at beta = 1).
Huber, "Robust Estimation of a Location Parameter", Ann. Math. Statist. 35, 1964.
Higham, "The Accuracy of Floating Point Summation", SIAM J. Sci. Comput. 14, 1993.
Knuth, TAOCP vol. 2, section 4.2.2 (two-sum); Dekker, Numer. Math. 18, 1971.
"""

from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport prange, threadid
from libc.float cimport DBL_MAX
from libc.math cimport INFINITY, fma, frexp, isfinite, isinf, ldexp, nextafter, sqrt
from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t,
)
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cimport numpy as cnp

from smoothl1._smoothl1 cimport clip, curvature, floating, half_of, majorizer, slope, value

from smoothl1 import _threads

cnp.import_array()


# ---------------------------------------------------------------------------
# OpenMP and fork
# ---------------------------------------------------------------------------
# Every call into the OpenMP runtime is here, with stand-ins for a build without.
# libgomp deadlocks in a child forked by a thread that had run a team of two or more: it
# waits for threads that only the parent has. A child of a process in which this module ran
# a team is told apart by a fork handler, and stays serial. But libgomp may be shared with
# others (PyTorch brings one that a build from source is bound to, if it is loaded first),
# and does not tell whether they ran a team. So before a fork it is asked to give up the
# waiting threads of the thread that forks: in the parent its next team starts them anew,
# and in the child nothing is left to wait for.

cdef extern from *:
    """
    #ifdef _OPENMP
      #include <omp.h>
      #define SMOOTHL1_OPENMP _OPENMP
    #else
      #define SMOOTHL1_OPENMP 0
      static int omp_get_max_threads(void) { return 1; }
      static int omp_get_num_procs(void) { return 1; }
      static int omp_in_parallel(void) { return 0; }
      static double omp_get_wtime(void) { return 0.0; }
    #endif

    /* All of the state of this module that changes. Any thread may read and write it at any
       time, with or without a GIL. */
    #ifdef _MSC_VER
      #define SMOOTHL1_SHARED volatile  /* as good as atomic there, but for the counter */
    #else
      #define SMOOTHL1_SHARED _Atomic
    #endif
    static SMOOTHL1_SHARED double smoothl1_debt = 0.0;  /* seconds to run serially: repay() */
    static SMOOTHL1_SHARED int smoothl1_team_started = 0;  /* this process ran a team */
    static SMOOTHL1_SHARED int smoothl1_team_lost = 0;     /* ... but its parent did, not it */
    static SMOOTHL1_SHARED long smoothl1_calls = 0;  /* under way, of those worth a team */

    static void smoothl1_after_fork(void) {
        if (smoothl1_team_started) { smoothl1_team_lost = 1; }
        smoothl1_calls = 0;  /* the threads that made them are gone */
    }
    #if defined(_OPENMP) && !defined(_WIN32)
      #include <pthread.h>
      /* libgomp ends the process if it cannot start a thread (a limit of processes, no room for
         a stack). So the first time that a caller's team grows, the threads that it lacks are
         started here, all at a time, and the team is as large as that went. */
      static __thread int smoothl1_largest_team = 1;
      static void *smoothl1_wait(void *gate) {
          pthread_mutex_lock((pthread_mutex_t *)gate);
          pthread_mutex_unlock((pthread_mutex_t *)gate);
          return NULL;
      }
      static int smoothl1_startable(int wanted) {
          pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
          pthread_t threads[256];
          int needed = wanted - smoothl1_largest_team, started = 0, i;
          if (needed <= 0) { return wanted; }
          if (needed > 256) { needed = 256; }
          pthread_mutex_lock(&gate);
          while (started < needed
                 && pthread_create(&threads[started], NULL, smoothl1_wait, &gate) == 0) {
              started++;
          }
          pthread_mutex_unlock(&gate);
          for (i = 0; i < started; i++) { pthread_join(threads[i], NULL); }
          pthread_mutex_destroy(&gate);
          smoothl1_largest_team += started;
          return smoothl1_largest_team;
      }

      #if _OPENMP >= 201811 || !defined(__clang__) && defined(__GNUC__) && __GNUC__ >= 9
        #pragma weak omp_pause_resource_all  /* built against a newer runtime than there is */
        static void smoothl1_before_fork(void) {
            if (!omp_pause_resource_all) { return; }
            omp_pause_resource_all(omp_pause_soft);
            smoothl1_largest_team = 1;
        }
      #else
        static void smoothl1_before_fork(void) {}
      #endif
      static void smoothl1_watch_forks(void) {
          pthread_atfork(smoothl1_before_fork, NULL, smoothl1_after_fork);
      }
    #else
      static void smoothl1_watch_forks(void) { (void)smoothl1_after_fork; }
      static int smoothl1_startable(int wanted) { return wanted; }
    #endif

    #ifdef _MSC_VER
      #include <intrin.h>
      static long smoothl1_enter(void) { return _InterlockedIncrement(&smoothl1_calls); }
      static void smoothl1_leave(void) { _InterlockedDecrement(&smoothl1_calls); }
    #else
      static long smoothl1_enter(void) { return ++smoothl1_calls; }
      static void smoothl1_leave(void) { --smoothl1_calls; }
    #endif
    """
    const int SMOOTHL1_OPENMP
    int omp_get_max_threads() nogil
    int omp_get_num_procs() nogil
    int omp_in_parallel() nogil
    double omp_get_wtime() nogil
    double smoothl1_debt
    int smoothl1_team_started
    int smoothl1_team_lost
    void smoothl1_watch_forks()
    long smoothl1_enter()
    void smoothl1_leave()
    int smoothl1_startable(int wanted) noexcept nogil

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
      #define SMOOTHL1_PREFETCH(address) __builtin_prefetch(address)
    #else
      #define SMOOTHL1_PREFETCH(address) ((void)(address))
    #endif
    """
    void SMOOTHL1_PREFETCH(const void* address) noexcept nogil

# Copying to memory that is not read again soon, past the caches: a plain store would first
# read each line that it is about to overwrite.
cdef extern from *:
    """
    #include <string.h>
    #ifdef __SSE2__
    #include <immintrin.h>
    #if defined(__AVX512F__)
      #define SMOOTHL1_VECTOR __m512i
      #define SMOOTHL1_STREAM(to, from) _mm512_stream_si512(to, _mm512_loadu_si512(from))
    #elif defined(__AVX__)
      #define SMOOTHL1_VECTOR __m256i
      #define SMOOTHL1_STREAM(to, from) _mm256_stream_si256(to, _mm256_loadu_si256(from))
    #else
      #define SMOOTHL1_VECTOR __m128i
      #define SMOOTHL1_STREAM(to, from) _mm_stream_si128(to, _mm_loadu_si128(from))
    #endif
    static void smoothl1_stream(char *to, const char *from, size_t size) {
        const size_t width = sizeof(SMOOTHL1_VECTOR);
        size_t i = (size_t)(-(ptrdiff_t)to) % width;
        if (i > size) { i = size; }
        memcpy(to, from, i);
        for (; i + width <= size; i += width) {
            SMOOTHL1_STREAM((SMOOTHL1_VECTOR *)(to + i), (const SMOOTHL1_VECTOR *)(from + i));
        }
        memcpy(to + i, from + i, size - i);
    }
    static void smoothl1_stream_end(void) { _mm_sfence(); }
    #else
    static void smoothl1_stream(char *to, const char *from, size_t size) {
        memcpy(to, from, size);
    }
    static void smoothl1_stream_end(void) {}
    #endif
    """
    void smoothl1_stream(char* to, const char* source, size_t size) noexcept nogil
    void smoothl1_stream_end() noexcept nogil

cdef extern from "numpy/halffloat.h":
    float npy_half_to_float(uint16_t h) nogil
    uint16_t npy_float_to_half(float f) nogil
    uint16_t npy_double_to_half(double d) nogil

cdef extern from "numpy/arrayobject.h":
    bint PyArray_ISCARRAY(cnp.ndarray a)
    bint PyArray_ISCARRAY_RO(cnp.ndarray a)
    object PyArray_Scalar(void* data, cnp.dtype descr, object base)

smoothl1_watch_forks()


cdef enum:
    # Elements of a leaf. Large enough that handing it out costs nothing beside the
    # work (1 to 5 microseconds); small enough that two float32 operands and a
    # result (48 KiB) stay in a first-level cache while a second kernel reads them.
    LEAF = 4096
    # Lanes of a leaf's sum: two AVX-512 registers, four of AVX2, eight of SSE2,
    # enough to hide the latency of an addition and few enough to stay in registers.
    LANES = 16
    # Terms that are written to a buffer before they are summed: few enough for the processor
    # to work on the next chunk's misses meanwhile, enough to amortise the calls. A multiple
    # of 2 LANES; no bit depends on it.
    CHUNK = 256
    # Elements that are packed at a time, if they must be, or that several kernels read: the
    # second finds them in the first-level cache.
    BLOCK = 1024
    # Leaves between two barriers, at which signals are checked and the tree is
    # advanced: 8 million elements, milliseconds. A power of two.
    GROUP = 2048
    # Outputs of an ``axis`` reduction worked on side by side, and elements of each that are
    # taken at a time (a multiple of 2 LANES).
    TILE = 64
    SLAB = 32
    # Elements of an output that is short: transposing it with its neighbours costs less
    # than starting and finishing a leaf.
    SHORT = 512
    # Bytes of ``out`` from which on it is written past the caches, none of which would hold
    # it: 10 to 15 % faster into memory that is mapped, slower into fresh pages.
    STREAM = 64 * 1024 * 1024
    # Elements worth a further thread: several microseconds of work, about ten times
    # what forking and joining a waiting team costs.
    GRAIN = 32768
    # More threads than this are started only if there are as many processors.
    MOST_THREADS = 16
    # Bytes of a cache line, and of the longest vector.
    LINE = 64
    MAX_DIMS = 64  # NPY_MAXDIMS of NumPy 2

cdef enum Operation:
    SUM        # reduce the loss
    VALUE      # write the loss of each element
    SLOPE      # write the gradient of each element ...
    BOTH       # ... and the loss of each element
    CURVATURE  # ... or the second derivative
    WEIGHTS    # reduce the weights alone

cdef enum Reduction:
    MEAN
    TOTAL
    WEIGHTED_MEAN

cdef enum Hessian:
    EXACT_HESSIAN
    MAJORIZER

# How a leaf's loss is summed; see ``make_params``.
cdef enum Form:
    PRODUCT
    PAIR
    ARRAY

ctypedef fused item:
    uint8_t
    uint16_t
    uint32_t
    uint64_t

ctypedef fused source:
    float
    double
    int8_t
    int16_t
    int32_t
    int64_t
    uint8_t
    uint16_t
    uint32_t
    uint64_t


# ---------------------------------------------------------------------------
# Double-double: an unevaluated sum hi + lo with |lo| far below |hi|
# ---------------------------------------------------------------------------

cdef struct Pair:
    double hi
    double lo


cdef inline Pair two_sum(double a, double b) noexcept nogil:
    """hi + lo == a + b exactly."""
    cdef Pair r
    cdef double v
    r.hi = a + b
    v = r.hi - a
    r.lo = (a - (r.hi - v)) + (b - v)
    return r


cdef inline Pair two_product(double a, double b) noexcept nogil:
    """hi + lo == a * b exactly (fma rounds once, in hardware or in libm)."""
    cdef Pair r
    r.hi = a * b
    r.lo = fma(a, b, -r.hi)
    return r


cdef inline Pair pair_add(Pair a, Pair b) noexcept nogil:
    cdef Pair r = two_sum(a.hi, b.hi)
    r.lo += a.lo + b.lo
    return r


cdef inline Pair pair_times(Pair a, Pair b) noexcept nogil:
    cdef Pair r = two_product(a.hi, b.hi)
    r.lo += a.hi * b.lo + a.lo * b.hi
    return r


cdef inline Pair pair_over(Pair a, Pair b) noexcept nogil:
    cdef Pair r, p
    r.hi = a.hi / b.hi
    p = two_product(r.hi, b.hi)
    r.lo = ((a.hi - p.hi) - p.lo + a.lo - r.hi * b.lo) / b.hi
    return r


cdef inline Pair pair_of(double a) noexcept nogil:
    cdef Pair r
    r.hi = a
    r.lo = 0.0
    return r


# ---------------------------------------------------------------------------
# Point functions
# ---------------------------------------------------------------------------
# value, slope, clip, curvature, majorizer and half_of are in ``smoothl1/_smoothl1.pxd``, for
# other Cython code, too. They are inlined: no module ``smoothl1._smoothl1`` exists.

cdef struct Params:
    double beta      # threshold, rounded to the working dtype
    double half      # beta / 2, the offset of the linear piece (0 for beta = inf)
    double gain      # slope of the linear piece
    double inverse   # ratio = z * inverse, if inverse is exact ...
    bint divide      # ... else ratio = z / beta
    bint huber
    Form form        # of the leaf's sum
    bint single      # the working dtype is float32
    double s         # PRODUCT, PAIR: see there
    double c         # PAIR
    double over      # loss = (terms + linear * offset) / over
    Pair offset


# Two ways to write a term of a sum, both without a division.
#
# PRODUCT: with m = min(z, beta) the loss is m (z - m/2) / beta. For beta a power of
# two, z - m/2 is exact in the linear piece and (m s), s = 1 / beta, always is, so a
# term is rounded once. Huber at a power of two: s = 1.
#
# PAIR: for any other beta, z - beta/2 rounds with the same sign for all z of a
# binade, a bias that no summation removes (up to 0.5 ulp of the result). So the
# offset is left out of the terms and counted instead: with s a power of two and
# c = 2 beta s in [0.5, 1),
#     c loss = z u - c beta/2 [z >= beta],   u = z s if z < beta else c,
# and the leaf sums z u and [z >= beta]. Every rounding left is that of a product.
# z u <= c loss + c beta/2, so nothing overflows that the loss itself would not.
# Huber: s = 1/4, c = delta/2, and the sum of z u is half the loss plus offset.
# ``z s < c / 2`` and ``z < beta`` are the same (s is a power of two); the compiler
# does not know it, and thus makes two selections rather than one branch.

cdef inline floating product_term(floating z, floating beta, floating s) noexcept nogil:
    cdef floating m = z if z < beta else beta
    return (m * s) * (z - <floating>0.5 * m)


cdef inline floating pair_term(
    floating z, floating s, floating c, floating half_c
) noexcept nogil:
    cdef floating u = z * s
    return z * (u if u < half_c else c)


cdef inline floating is_linear(floating z, floating beta) noexcept nogil:
    return <floating>0 if z < beta else <floating>1


cdef void make_params(
    Params* p, double beta, bint huber, bint single, bint is_array
) noexcept nogil:
    """Everything that follows from the threshold and the working dtype.

    IN: beta >= 0, unrounded; huber; single: the working dtype is float32;
    is_array: thresholds come per element, ``beta`` is not looked at.
    OUT: p.
    """
    cdef int exponent
    cdef double mantissa
    if single:
        beta = <float>beta
    p.beta = beta
    p.huber = huber
    p.single = single
    p.half = half_of[double](beta)
    if single:
        p.half = <float>p.half
    p.gain = beta if huber else 1.0
    mantissa = frexp(beta, &exponent)
    # 1/beta is exact for a power of two (or inf) unless it overflows.
    p.inverse = 1.0 if huber else (1.0 / beta if beta > 0.0 else 0.0)
    if single:
        p.inverse = <float>p.inverse
    p.divide = not (
        huber or beta == 0.0 or (isinf(beta) or mantissa == 0.5) and isfinite(p.inverse)
    )
    p.s = p.c = 0.0  # never garbage: multiplying a subnormal number takes 100 cycles
    p.over = 1.0
    if is_array:
        p.form = ARRAY
    elif mantissa == 0.5 and isfinite(p.inverse) and p.inverse > 0.0:
        p.form = PRODUCT
        p.s = p.inverse
    elif huber:
        p.form = PAIR
        p.s = 0.25
        p.c = 0.5 * beta
        p.over = 0.5
    elif beta == 0.0 or isinf(beta):
        # u = z * 0 is below half_c only for finite z and a positive half_c.
        p.form = PAIR
        p.s = 0.0
        p.c = p.over = 1.0 if beta == 0.0 else 0.5
    else:
        p.form = PAIR
        p.s = ldexp(0.5, -exponent)  # 2 beta s = mantissa
        p.c = p.over = mantissa
        if p.s > (1.7014118346046923e38 if single else 8.98846567431158e307):
            p.form = ARRAY  # a subnormal beta, whose s is no finite power of two
            p.over = 1.0
    p.offset = pair_of(-0.5)
    if p.form != ARRAY:
        p.offset = pair_times(two_product(-0.5 * p.gain, beta), pair_of(p.over))
        if not isfinite(p.offset.hi + p.offset.lo):
            p.offset = pair_of(0.0)  # the loss of what is beyond overflows, too


# ---------------------------------------------------------------------------
# Leaf kernels
# ---------------------------------------------------------------------------

cdef struct Node:
    # Partial sums of one output; what a leaf returns and the tree adds up.
    Pair loss      # of the terms
    Pair linear    # of what PAIR and ARRAY count in the linear piece
    Pair weight    # of the weights
    double count   # of the selected elements
    double below   # of the elements in the quadratic piece, if asked for


cdef struct Lanes:
    # Element i of a leaf goes to lane i % LANES. float64 terms are summed in
    # double-double: hi takes the rounded sum, lo what the rounding dropped.
    double hi[LANES]
    double lo[LANES]


cdef inline void clear(Lanes* sums) noexcept nogil:
    cdef int lane
    for lane in range(LANES):
        sums.hi[lane] = 0.0
        sums.lo[lane] = 0.0


cdef inline void lane_add(
    double* hi, double* lo, Py_ssize_t lane, double term, floating tag
) noexcept nogil:
    cdef Pair r
    if floating is double:
        r = two_sum(hi[lane], term)
        hi[lane] = r.hi
        lo[lane] += r.lo
    else:
        # float64 has 29 bits to spare for a float32 term.
        hi[lane] += term


cdef inline Pair fold(Lanes* sums, Py_ssize_t n, const floating* tag) noexcept nogil:
    """Add the upper half of the lanes to the lower half until one is left.

    After n elements; halves that took in none are 0 and left out.
    """
    cdef int lane, width = LANES // 2
    cdef Pair r
    while width >= n and width > 0:
        width = width // 2
    while width > 0:
        for lane in range(width):
            if floating is float:
                sums.hi[lane] += sums.hi[lane + width]
            else:
                r = two_sum(sums.hi[lane], sums.hi[lane + width])
                sums.hi[lane] = r.hi
                sums.lo[lane] = (sums.lo[lane] + sums.lo[lane + width]) + r.lo
        width = width // 2
    r.hi = sums.hi[0]
    r.lo = sums.lo[0]
    return r


# A sum is made in two steps, chunk by chunk: the terms go to a small buffer, the buffer into
# the lanes. That is as fast as one loop with the registers for both, or faster (conversions
# to float64 read memory where they would otherwise need a shuffle), and one sum serves all
# terms.

cdef void sum_buffer(const floating* a, Py_ssize_t n, Lanes* running) noexcept nogil:
    """Add a chunk to the running sums.

    Two terms of a lane are added before they enter it: that halves the cost of the
    double-double and adds one rounding, of the smallest of all partial sums.
    """
    cdef double hi[LANES]
    cdef double lo[LANES]
    cdef double first, second
    cdef Py_ssize_t i = 0
    cdef int lane
    # ``+ 0.0`` keeps GCC from making this a memcpy, which would keep the lanes in memory.
    for lane in range(LANES):
        hi[lane] = running.hi[lane] + 0.0
        if floating is double:
            lo[lane] = running.lo[lane] + 0.0
    while i <= n - 2 * LANES:
        for lane in range(LANES):
            first = a[i + lane]
            second = a[i + lane + LANES]
            lane_add(hi, lo, lane, first + second, a[0])
        i += 2 * LANES
    for lane in range(LANES):
        running.hi[lane] = hi[lane] + 0.0
        if floating is double:
            running.lo[lane] = lo[lane] + 0.0
    while i < n:
        lane_add(running.hi, running.lo, i % LANES, a[i], a[0])
        i += 1


cdef Py_ssize_t write_terms(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n,
    const Params* p, floating* terms,
) noexcept nogil:
    """The terms of a sum; returns, for PAIR, the number of elements in the linear piece."""
    cdef floating beta = <floating>p.beta, s = <floating>p.s, c = <floating>p.c
    cdef floating half_c = <floating>0.5 * c if beta > 0 else <floating>0
    cdef floating z, t
    cdef bint huber = p.huber
    cdef int32_t linear = 0  # n is CHUNK * TILE at most
    cdef Py_ssize_t i
    if p.form == PRODUCT:
        for i in range(n):
            terms[i] = product_term(abs(x[i] - y[i]), beta, s)
    elif p.form == PAIR:
        for i in range(n):
            z = abs(x[i] - y[i])
            terms[i] = pair_term(z, s, c, half_c)
            linear += not z < beta
    elif huber:
        for i in range(n):
            t = b[i]
            z = abs(x[i] - y[i])
            terms[i] = value(z, z, t, <floating>0, t)
    else:
        for i in range(n):
            t = b[i]
            z = abs(x[i] - y[i])
            terms[i] = value(z, z / t, t, <floating>0, <floating>1)
    return linear


cdef void write_offsets(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n,
    const Params* p, floating* offsets,
) noexcept nogil:
    """What is to be subtracted from the terms: as PAIR counts it, or, for ARRAY, twice it."""
    cdef floating beta = <floating>p.beta, t
    cdef bint huber = p.huber
    cdef Py_ssize_t i
    if p.form == PAIR:
        for i in range(n):
            offsets[i] = is_linear(abs(x[i] - y[i]), beta)
    elif huber:
        for i in range(n):
            t = b[i]
            offsets[i] = <floating>0 if abs(x[i] - y[i]) < t else t * t
    else:
        for i in range(n):
            t = b[i]
            offsets[i] = <floating>0 if abs(x[i] - y[i]) < t else t


cdef void write_terms_and_slopes(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p, double scale_,
    floating* terms, floating* out,
) noexcept nogil:
    """PRODUCT's terms and the gradient, reading x and y once."""
    cdef floating beta = <floating>p.beta, s = <floating>p.s, inverse = <floating>p.inverse
    cdef floating scale = <floating>scale_, d
    cdef Py_ssize_t i
    for i in range(n):
        d = x[i] - y[i]
        terms[i] = product_term(abs(d), beta, s)
        out[i] = clip(d, beta) * inverse * scale


cdef void write_values(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n,
    const Params* p, floating* out,
) noexcept nogil:
    cdef floating beta = <floating>p.beta, half = <floating>p.half
    cdef floating gain = <floating>p.gain, inverse = <floating>p.inverse
    cdef floating z, t, g, divisor
    cdef bint huber = p.huber
    cdef Py_ssize_t i
    if b is not NULL:
        for i in range(n):
            t = b[i]
            z = abs(x[i] - y[i])
            g = t if huber else <floating>1
            divisor = <floating>1 if huber else t
            out[i] = value(z, z / divisor, t, half_of(t), g)
    elif p.divide:
        for i in range(n):
            z = abs(x[i] - y[i])
            out[i] = value(z, z / beta, beta, half, gain)
    else:
        for i in range(n):
            z = abs(x[i] - y[i])
            out[i] = value(z, z * inverse, beta, half, gain)


cdef void write_slopes(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n,
    const Params* p, double scale_, floating* out,
) noexcept nogil:
    cdef floating beta = <floating>p.beta, inverse = <floating>p.inverse
    cdef floating scale = <floating>scale_, edge = <floating>(p.gain * scale_)
    cdef floating d, t, divisor
    cdef bint huber = p.huber
    cdef Py_ssize_t i
    if b is not NULL:
        for i in range(n):
            t = b[i]
            d = x[i] - y[i]
            divisor = <floating>1 if huber else t
            out[i] = slope(d, d / divisor, t, scale, t * scale if huber else scale)
    elif p.divide:
        for i in range(n):
            out[i] = clip(x[i] - y[i], beta) / beta * scale
    elif beta > 0 and beta < <floating>INFINITY:
        for i in range(n):
            out[i] = clip(x[i] - y[i], beta) * inverse * scale
    else:
        for i in range(n):
            d = x[i] - y[i]
            out[i] = slope(d, d * inverse, beta, scale, edge)


cdef void write_curvatures(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n,
    const Params* p, Hessian hessian, floating* out,
) noexcept nogil:
    cdef floating beta = <floating>p.beta, gain = <floating>p.gain
    cdef floating t, g
    cdef floating inside = <floating>1 if p.huber else <floating>1 / beta
    cdef bint huber = p.huber
    cdef Py_ssize_t i
    if b is not NULL:
        for i in range(n):
            t = b[i]
            g = t if huber else <floating>1
            if hessian == MAJORIZER:
                out[i] = majorizer(abs(x[i] - y[i]), t, g)
            else:
                out[i] = curvature(abs(x[i] - y[i]), t, g / t)
    elif hessian == MAJORIZER:
        for i in range(n):
            out[i] = majorizer(abs(x[i] - y[i]), beta, gain)
    else:
        for i in range(n):
            out[i] = curvature(abs(x[i] - y[i]), beta, inside)


cdef double count_below(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p
) noexcept nogil:
    cdef floating beta = <floating>p.beta
    cdef int32_t count = 0
    cdef Py_ssize_t i
    for i in range(n):
        count += abs(x[i] - y[i]) < beta
    return count


cdef void multiply(floating* a, const floating* b, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        a[i] = a[i] * b[i]


cdef void multiply_scaled(
    floating* a, const floating* b, double scale, Py_ssize_t n
) noexcept nogil:
    """a times b times scale, for a scale far from 1: weights over their sum are near 1."""
    cdef Py_ssize_t i
    for i in range(n):
        a[i] = a[i] * <floating>(b[i] * scale)


cdef void select(floating* a, const uint8_t* mask, Py_ssize_t n) noexcept nogil:
    """Clear what is not selected, NaN included."""
    cdef Py_ssize_t i
    for i in range(n):
        a[i] = a[i] if mask[i] else <floating>0


cdef inline void weigh(
    floating* a, const floating* weight, const uint8_t* mask, Py_ssize_t n
) noexcept nogil:
    if weight is not NULL:
        multiply(a, weight, n)
    if mask is not NULL:
        select(a, mask, n)


cdef Py_ssize_t count_selected(const uint8_t* mask, Py_ssize_t n) noexcept nogil:
    cdef int32_t count = 0
    cdef Py_ssize_t i
    for i in range(n):
        count += mask[i] != 0
    return count


# ---------------------------------------------------------------------------
# Operands: any NumPy layout and dtype, one leaf at a time
# ---------------------------------------------------------------------------

cdef struct Operand:
    char* data
    char kind             # 'f', 'i', 'u' ('b' is read as 'u')
    int itemsize
    bint swap             # of the other byte order
    bint typed            # aligned, native, of the working dtype
    bint plain            # aligned, native, contiguous
    bint direct           # all of these: read in place
    # Axes of the outputs (of an ``axis`` reduction; none otherwise) ...
    int n_kept
    Py_ssize_t kept_shape[MAX_DIMS]
    Py_ssize_t kept_stride[MAX_DIMS]
    # ... and the axes walked inside of one output, merged where strides allow.
    int ndim
    Py_ssize_t shape[MAX_DIMS]
    Py_ssize_t stride[MAX_DIMS]


cdef inline void set_flat(
    Operand* op, cnp.ndarray a, Py_ssize_t n, int itemsize
) noexcept:
    """A C-contiguous, aligned, native array of the working dtype."""
    op.data = <char*>cnp.PyArray_DATA(a)
    op.kind = c"f"
    op.itemsize = itemsize
    op.swap = False
    op.typed = True
    op.plain = True
    op.direct = True
    op.n_kept = 0
    op.ndim = 1
    op.shape[0] = n
    op.stride[0] = itemsize


cdef int set_operand(Operand* op, cnp.ndarray a, int n_kept, char working) except -1:
    """Describe ``a``, whose first ``n_kept`` axes are those of the outputs."""
    cdef int axis, ndim = cnp.PyArray_NDIM(a), last
    cdef Py_ssize_t extent, stride
    cdef cnp.dtype dtype = a.descr
    cdef Py_ssize_t* strides = <Py_ssize_t*>cnp.PyArray_STRIDES(a)
    if ndim > MAX_DIMS:
        raise ValueError(f"at most {MAX_DIMS} dimensions are supported, got {ndim}")
    op.data = <char*>cnp.PyArray_DATA(a)
    op.kind = c"u" if dtype.kind == c"b" else dtype.kind
    op.itemsize = <int>cnp.PyArray_ITEMSIZE(a)
    op.swap = not cnp.PyArray_ISNOTSWAPPED(a)
    op.n_kept = n_kept
    for axis in range(n_kept):
        op.kept_shape[axis] = cnp.PyArray_DIM(a, axis)
        op.kept_stride[axis] = strides[axis]
    op.ndim = 0
    for axis in range(n_kept, ndim):
        extent = cnp.PyArray_DIM(a, axis)
        stride = strides[axis]
        if extent == 1:
            continue
        last = op.ndim - 1
        if last >= 0 and op.stride[last] == stride * extent:
            op.shape[last] *= extent
            op.stride[last] = stride
        else:
            op.shape[op.ndim] = extent
            op.stride[op.ndim] = stride
            op.ndim += 1
    if op.ndim == 0:
        op.ndim = 1
        op.shape[0] = 1
        op.stride[0] = op.itemsize
    op.plain = (
        not op.swap and cnp.PyArray_ISALIGNED(a)
        and op.ndim == 1 and op.stride[0] == op.itemsize
    )
    op.typed = (
        op.kind == c"f" and op.itemsize == (4 if working == c"f" else 8)
        and not op.swap and cnp.PyArray_ISALIGNED(a)
    )
    op.direct = op.typed and op.plain
    return 0


cdef inline void copy_items(
    item* to, Py_ssize_t to_stride, const item* src, Py_ssize_t stride, Py_ssize_t n
) noexcept nogil:
    # memcpy of a constant size is a plain move, and right at any alignment. Where the compiler
    # knows the strides (a column of two, a repeated element) it moves vectors, not items.
    cdef Py_ssize_t i, size = sizeof(item)
    cdef item repeated
    cdef char* a = <char*>to
    cdef const char* b = <const char*>src
    if to_stride == size and stride == 2 * size:
        for i in range(n):
            memcpy(
                a + i * <Py_ssize_t>sizeof(item), b + 2 * i * <Py_ssize_t>sizeof(item),
                sizeof(item),
            )
    elif to_stride == size and stride == 0:
        memcpy(&repeated, b, sizeof(item))
        for i in range(n):
            memcpy(a + i * <Py_ssize_t>sizeof(item), &repeated, sizeof(item))
    else:
        for i in range(n):
            memcpy(a + i * to_stride, b + i * stride, sizeof(item))


cdef inline void copy_strided(
    char* to, Py_ssize_t to_stride, const char* src, Py_ssize_t stride,
    Py_ssize_t n, int itemsize,
) noexcept nogil:
    if to_stride == itemsize and stride == itemsize:
        memcpy(to, src, n * itemsize)
    elif itemsize == 4:
        copy_items(<uint32_t*>to, to_stride, <const uint32_t*>src, stride, n)
    elif itemsize == 8:
        copy_items(<uint64_t*>to, to_stride, <const uint64_t*>src, stride, n)
    elif itemsize == 2:
        copy_items(<uint16_t*>to, to_stride, <const uint16_t*>src, stride, n)
    else:
        copy_items(<uint8_t*>to, to_stride, <const uint8_t*>src, stride, n)


cdef inline void move(
    char* data, Py_ssize_t stride, char* buffer, Py_ssize_t buffer_stride,
    Py_ssize_t n, int itemsize, bint gather,
) noexcept nogil:
    if gather:
        copy_strided(buffer, buffer_stride, data, stride, n, itemsize)
    else:
        copy_strided(data, stride, buffer, buffer_stride, n, itemsize)


cdef void transfer(
    const Operand* op, char* data, Py_ssize_t start, Py_ssize_t n, char* buffer, bint gather
) noexcept nogil:
    """Copy elements start .. start + n (C order) of an operand to a buffer, or back."""
    cdef Py_ssize_t index[MAX_DIMS]
    cdef int axis, advanced, last = op.ndim - 1
    cdef Py_ssize_t left, columns = op.shape[last], rows, column, run
    cdef int size = op.itemsize
    if last == 0:
        move(data + start * op.stride[0], op.stride[0], buffer, size, n, size, gather)
        return
    for axis in range(last, -1, -1):
        index[axis] = start % op.shape[axis]
        start = start // op.shape[axis]
        data += index[axis] * op.stride[axis]
    left = n
    while left > 0:
        rows = 0
        if index[last] == 0:
            rows = left // columns
            if rows > op.shape[last - 1] - index[last - 1]:
                rows = op.shape[last - 1] - index[last - 1]
        if rows > columns:
            # More rows than columns: the inner loop runs down the rows.
            for column in range(columns):
                move(
                    data + column * op.stride[last], op.stride[last - 1],
                    buffer + column * size, columns * size, rows, size, gather,
                )
            run = rows * columns
            data += rows * op.stride[last - 1]
            index[last - 1] += rows
            advanced = last - 1
        else:
            run = columns - index[last]
            if run > left:
                run = left
            move(data, op.stride[last], buffer, size, run, size, gather)
            data += run * op.stride[last]
            index[last] += run
            advanced = last
        buffer += run * size
        left -= run
        # Carry into the axes further out.
        for axis in range(advanced, 0, -1):
            if index[axis] < op.shape[axis]:
                break
            data += op.stride[axis - 1] - op.shape[axis] * op.stride[axis]
            index[axis] = 0
            index[axis - 1] += 1


cdef void swap_bytes(char* buffer, Py_ssize_t n, int itemsize) noexcept nogil:
    cdef Py_ssize_t i
    cdef int j
    cdef char c
    for i in range(n):
        for j in range(itemsize // 2):
            c = buffer[i * itemsize + j]
            buffer[i * itemsize + j] = buffer[i * itemsize + itemsize - 1 - j]
            buffer[i * itemsize + itemsize - 1 - j] = c


cdef void convert(const source* a, Py_ssize_t n, floating* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = <floating>a[i]


cdef void convert_half(const uint16_t* a, Py_ssize_t n, floating* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = npy_half_to_float(a[i])


cdef Py_ssize_t kept_offset(const Operand* op, Py_ssize_t output) noexcept nogil:
    cdef int axis
    cdef Py_ssize_t offset = 0
    for axis in range(op.n_kept - 1, -1, -1):
        offset += (output % op.kept_shape[axis]) * op.kept_stride[axis]
        output = output // op.kept_shape[axis]
    return offset


cdef const floating* load(
    const Operand* op, Py_ssize_t output, Py_ssize_t start, Py_ssize_t n,
    char* raw, floating* buffer,
) noexcept nogil:
    """A block of an operand in the working dtype: in place if possible, else packed."""
    cdef char* data = op.data + kept_offset(op, output)
    cdef bint same = op.kind == c"f" and op.itemsize == <int>sizeof(floating)
    cdef char* target = <char*>buffer if same else raw
    cdef Py_ssize_t column
    if op.direct:
        return <const floating*>(data + start * op.itemsize)
    if op.ndim == 2 and op.typed and op.stride[1] == op.itemsize:
        # Within a row (of a slice of a matrix, or a row that is repeated).
        column = start % op.shape[1]
        if column + n <= op.shape[1]:
            return <const floating*>(
                data + start // op.shape[1] * op.stride[0] + column * op.itemsize
            )
    if op.plain:
        raw = data + start * op.itemsize
    else:
        transfer(op, data, start, n, target, True)
    if op.swap:
        swap_bytes(target, n, op.itemsize)
    if same:
        pass
    elif op.kind == c"f":
        if op.itemsize == 2:
            convert_half(<uint16_t*>raw, n, buffer)
        elif op.itemsize == 4:
            convert(<float*>raw, n, buffer)
        else:
            convert(<double*>raw, n, buffer)
    elif op.kind == c"i":
        if op.itemsize == 1:
            convert(<int8_t*>raw, n, buffer)
        elif op.itemsize == 2:
            convert(<int16_t*>raw, n, buffer)
        elif op.itemsize == 4:
            convert(<int32_t*>raw, n, buffer)
        else:
            convert(<int64_t*>raw, n, buffer)
    else:
        if op.itemsize == 1:
            convert(<uint8_t*>raw, n, buffer)
        elif op.itemsize == 2:
            convert(<uint16_t*>raw, n, buffer)
        elif op.itemsize == 4:
            convert(<uint32_t*>raw, n, buffer)
        else:
            convert(<uint64_t*>raw, n, buffer)
    return buffer


cdef const uint8_t* load_mask(
    const Operand* op, Py_ssize_t output, Py_ssize_t start, Py_ssize_t n, char* buffer
) noexcept nogil:
    """A block of a boolean operand: in place if contiguous, else packed."""
    cdef char* data = op.data + kept_offset(op, output)
    if op.plain:
        return <const uint8_t*>(data + start)
    transfer(op, data, start, n, buffer, True)
    return <const uint8_t*>buffer


cdef void store(
    const Operand* op, Py_ssize_t start, Py_ssize_t n, char* raw, floating* buffer
) noexcept nogil:
    """Write a block of results to ``out``, converted to its dtype."""
    cdef Py_ssize_t i
    cdef char* result = raw
    if op.itemsize == <int>sizeof(floating):
        result = <char*>buffer
    elif op.itemsize == 2:
        for i in range(n):
            if floating is float:
                (<uint16_t*>raw)[i] = npy_float_to_half(buffer[i])
            else:
                (<uint16_t*>raw)[i] = npy_double_to_half(buffer[i])
    elif op.itemsize == 4:
        convert(buffer, n, <float*>raw)
    else:
        convert(buffer, n, <double*>raw)
    if op.swap:
        swap_bytes(result, n, op.itemsize)
    transfer(op, op.data, start, n, result, False)


# ---------------------------------------------------------------------------
# Driver
# ---------------------------------------------------------------------------

cdef struct Job:
    Operation operation
    bint reduce            # SUM, or another operation that returns the loss as well
    Hessian hessian
    bint count_below
    bint sum_weights
    bint single            # the working dtype is float32
    double scale           # of gradients
    Py_ssize_t n           # elements of one output
    Py_ssize_t leaves      # of one output
    Py_ssize_t outputs
    int n_params
    Params* params         # one, or one for each threshold of a path
    int n_threads
    bint times             # it is worth a team: seconds count, see charge
    bint has_beta
    bint has_weight
    bint has_factor
    bint has_where
    bint has_scratch
    bint packs             # an operand goes through a buffer
    bint streams           # ``out`` is written past the caches
    bint side_by_side      # see sum_columns
    Operand x              # input
    Operand y              # target
    Operand beta           # thresholds per element
    Operand weight
    Operand factor         # grad_output per element
    Operand where
    Operand out            # loss or gradient
    Operand out2           # loss beside gradient, or second derivative


# Buffers of one thread, in blocks of float64: x, y, beta, weight, factor, raw, out, out2
# and the mask. Behind them the running sums, one for each parameter set.
cdef enum:
    BUFFERS = 9

cdef struct Running:
    Lanes loss
    Lanes linear
    double count  # what PAIR counts without weights and selection


cdef inline char* slot(char* scratch, int i, Py_ssize_t size) noexcept nogil:
    return NULL if scratch is NULL else scratch + i * size


ctypedef fused element:
    float
    double
    uint8_t


cdef inline void prefetch(const char* data, Py_ssize_t size) noexcept nogil:
    """Ask for memory that is needed soon; an address beyond the end does no harm."""
    cdef Py_ssize_t i
    for i in range((size + LINE - 1) // LINE):
        SMOOTHL1_PREFETCH(data + i * LINE)


cdef inline const element* at(const element* a, Py_ssize_t i) noexcept nogil:
    if a is NULL:
        return NULL
    return a + i


cdef inline char* aligned(char* space) noexcept nogil:
    """A vector that straddles two cache lines costs twice: buffers start at one."""
    return <char*>((<size_t>space + (LINE - 1)) & ~<size_t>(LINE - 1))


cdef inline void fill(floating a, Py_ssize_t n, floating* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = a


cdef void sum_block(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p, Running* running
) noexcept nogil:
    """Add the loss of a block to the running sums."""
    cdef char space[CHUNK * 8 + LINE]
    cdef floating* terms = <floating*>aligned(space)
    cdef Py_ssize_t i = 0, m
    while i < n:
        m = CHUNK if n - i > CHUNK else n - i
        running.count += write_terms(x + i, y + i, <const floating*>NULL, m, p, terms)
        sum_buffer(terms, m, &running.loss)
        i += m


cdef void sum_block_and_write_slopes(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p, double scale,
    Running* running, floating* out,
) noexcept nogil:
    """The same for PRODUCT, with the gradient."""
    cdef char space[CHUNK * 8 + LINE]
    cdef floating* terms = <floating*>aligned(space)
    cdef Py_ssize_t i = 0, m
    while i < n:
        m = CHUNK if n - i > CHUNK else n - i
        write_terms_and_slopes(x + i, y + i, m, p, scale, terms, out + i)
        sum_buffer(terms, m, &running.loss)
        i += m


cdef void sum_any_block(
    const floating* x, const floating* y, const floating* b, const floating* w,
    const uint8_t* mask, Py_ssize_t n, const Params* p, Running* running,
) noexcept nogil:
    """The same with thresholds per element, weights and a selection."""
    cdef char space[3 * CHUNK * 8 + LINE]
    cdef floating* terms = <floating*>aligned(space)
    cdef floating* offsets = terms + CHUNK
    cdef floating* thresholds = offsets + CHUNK
    cdef Py_ssize_t i = 0, m
    if b is NULL and p.form == ARRAY:  # a subnormal threshold for all
        fill(<floating>p.beta, CHUNK, thresholds)
    while i < n:
        m = CHUNK if n - i > CHUNK else n - i
        if b is not NULL:
            thresholds = <floating*>b + i
        write_terms(x + i, y + i, <const floating*>thresholds, m, p, terms)
        weigh(terms, at(w, i), at(mask, i), m)
        sum_buffer(terms, m, &running.loss)
        if p.form != PRODUCT:
            write_offsets(x + i, y + i, <const floating*>thresholds, m, p, offsets)
            weigh(offsets, at(w, i), at(mask, i), m)
            sum_buffer(offsets, m, &running.linear)
        i += m


cdef void write_block(
    const Job* job, const floating* x, const floating* y, const floating* b,
    const floating* w, const floating* f, const uint8_t* mask, Py_ssize_t n,
    floating* out, floating* out2,
) noexcept nogil:
    """Write the results of a block; out2 first, since out may be an operand."""
    cdef Params* p = &job.params[0]
    if job.operation == CURVATURE:
        write_curvatures(x, y, b, n, p, job.hessian, out2)
    elif job.operation == BOTH:
        write_values(x, y, b, n, p, out2)
    if job.operation == CURVATURE or job.operation == BOTH:
        weigh(out2, w, mask, n)
    if job.operation == VALUE:
        write_values(x, y, b, n, p, out)
        weigh(out, w, <const uint8_t*>NULL, n)
    elif w is NULL or 1e-10 < abs(job.scale) < 1e10:
        write_slopes(x, y, b, n, p, job.scale, out)
        weigh(out, w, <const uint8_t*>NULL, n)
    else:
        write_slopes(x, y, b, n, p, 1.0, out)
        multiply_scaled(out, w, job.scale, n)
    weigh(out, f, mask, n)


cdef void run_leaf(
    const Job* job, Py_ssize_t output, Py_ssize_t leaf, Node* nodes, char* scratch,
    const floating* tag,
) noexcept nogil:
    """All of the work on one leaf.

    OUT: nodes[k], the partial sums for parameter set k.
    """
    cdef Py_ssize_t first = leaf * LEAF, start
    cdef Py_ssize_t length = job.n - first if job.n - first < LEAF else LEAF
    cdef Py_ssize_t size = (job.n if job.n < BLOCK else BLOCK) * sizeof(double)
    cdef floating* x_buffer = <floating*>slot(scratch, 0, size)
    cdef floating* y_buffer = <floating*>slot(scratch, 1, size)
    cdef floating* b_buffer = <floating*>slot(scratch, 2, size)
    cdef floating* w_buffer = <floating*>slot(scratch, 3, size)
    cdef floating* f_buffer = <floating*>slot(scratch, 4, size)
    cdef char* raw = slot(scratch, 5, size)
    cdef floating* buffer = <floating*>slot(scratch, 6, size)
    cdef floating* buffer2 = <floating*>slot(scratch, 7, size)
    cdef char* mask_buffer = slot(scratch, 8, size)
    cdef const uint8_t* mask = NULL
    cdef const floating* x = NULL
    cdef const floating* y = NULL
    cdef const floating* b = NULL
    cdef const floating* w = NULL
    cdef const floating* f = NULL
    cdef floating* out = buffer
    cdef char staging[BLOCK * 8 + LINE]
    cdef Running single
    cdef Running* running = &single
    cdef Lanes weights
    cdef double count = length
    cdef Py_ssize_t n, block = BLOCK
    cdef int k
    cdef bint sums = job.reduce and job.operation != WEIGHTS
    cdef bint writes = job.operation != SUM and job.operation != WEIGHTS
    cdef bint weighs = job.has_weight and (job.sum_weights or job.operation == WEIGHTS)
    cdef bint fused = (
        sums and job.operation == SLOPE and not job.has_scratch
        and job.params[0].form == PRODUCT and not job.params[0].divide
    )
    # Without weights, selection and thresholds per element, what is linear is counted.
    cdef bint counts = not (job.has_weight or job.has_where or job.has_beta)

    for k in range(job.n_params):
        counts = counts and job.params[k].form != ARRAY
    if job.n_params > 1:
        running = <Running*>slot(scratch, BUFFERS, size)
    if job.reduce:
        for k in range(job.n_params):
            clear(&running[k].loss)
            running[k].count = 0.0
            if not counts:
                clear(&running[k].linear)
            nodes[k] = no_node()
        if weighs:
            clear(&weights)
        if job.has_where:
            count = 0.0

    if not job.packs and job.n_params == 1 and (fused or not (sums and writes)):
        block = LEAF  # nothing to pack, and a single kernel
    if job.streams:
        block = BLOCK // 2  # a longer burst of stores leaves the loads waiting
    start = 0
    while start < length:
        n = block if length - start > block else length - start
        if job.operation != WEIGHTS:
            x = load(&job.x, output, first + start, n, raw, x_buffer)
            y = load(&job.y, output, first + start, n, raw, y_buffer)
        if job.has_beta:
            b = load(&job.beta, output, first + start, n, raw, b_buffer)
        if job.has_weight:
            w = load(&job.weight, output, first + start, n, raw, w_buffer)
        if job.has_factor:
            f = load(&job.factor, output, first + start, n, raw, f_buffer)
        if job.has_where:
            mask = load_mask(&job.where, output, first + start, n, mask_buffer)
            count += count_selected(mask, n)
        if weighs and mask is NULL:
            sum_buffer(w, n, &weights)
        elif weighs:
            memcpy(buffer, w, n * sizeof(floating))
            select(buffer, mask, n)
            sum_buffer(<const floating*>buffer, n, &weights)
        if job.streams:
            out = <floating*>aligned(staging)
        elif writes and job.out.direct:
            out = <floating*>(job.out.data + (first + start) * <Py_ssize_t>sizeof(floating))
        if job.n_params > 1:
            # The second threshold works in the cache: memory can deliver the next block.
            if job.x.direct:
                prefetch(<const char*>(x + n), n * <Py_ssize_t>sizeof(floating))
            if job.y.direct:
                prefetch(<const char*>(y + n), n * <Py_ssize_t>sizeof(floating))
        if fused:
            sum_block_and_write_slopes(x, y, n, &job.params[0], job.scale, running, out)
        else:
            for k in range(job.n_params if sums else 0):
                if counts:
                    sum_block(x, y, n, &job.params[k], &running[k])
                else:
                    sum_any_block(x, y, b, w, mask, n, &job.params[k], &running[k])
                if job.count_below:
                    nodes[k].below += count_below(x, y, n, &job.params[k])
            if writes:
                write_block(job, x, y, b, w, f, mask, n, out, buffer2)
        if job.streams:
            smoothl1_stream(
                job.out.data + (first + start) * <Py_ssize_t>sizeof(floating),
                <const char*>out, n * sizeof(floating),
            )
        elif writes and not job.out.direct:
            store(&job.out, first + start, n, raw, buffer)
        if job.operation == CURVATURE or job.operation == BOTH:
            store(&job.out2, first + start, n, raw, buffer2)
        start += n

    if job.streams:
        smoothl1_stream_end()
    if job.reduce:
        for k in range(job.n_params):
            nodes[k].count = count
            if not sums:
                continue
            nodes[k].loss = fold(&running[k].loss, length, tag)
            if counts:
                nodes[k].linear = pair_of(running[k].count)
            else:
                nodes[k].linear = fold(&running[k].linear, length, tag)
        if weighs:
            nodes[0].weight = fold(&weights, length, tag)


cdef inline void leaf_of_any_type(
    const Job* job, Py_ssize_t output, Py_ssize_t leaf, Node* nodes, char* scratch
) noexcept nogil:
    if job.single:
        run_leaf(job, output, leaf, nodes, scratch, <const float*>NULL)
    else:
        run_leaf(job, output, leaf, nodes, scratch, <const double*>NULL)


cdef struct Sink:
    # Where the reduced losses of all outputs go, output by output.
    char* results          # [output * n_params + k]
    bint narrow            # they are float32, else float64
    Reduction reduction
    double smallest        # divisor of a mean over the outputs


cdef struct Columns:
    # The lanes of up to TILE outputs: those of one lane are neighbours, [lane][output].
    double hi[LANES * TILE]
    double lo[LANES * TILE]
    double linear[TILE]


cdef inline const floating* slab_of(
    const Operand* op, const char* data, Py_ssize_t rows, Py_ssize_t width, floating* buffer
) noexcept nogil:
    """``rows`` elements each of ``width`` outputs, [row][output]: in place or packed."""
    cdef Py_ssize_t step = op.kept_stride[op.n_kept - 1], size = sizeof(floating), i
    if step == size and (op.stride[0] == width * size or rows == 1):
        return <const floating*>data
    for i in range(rows):
        copy_strided(
            <char*>&buffer[i * width], size, data + i * op.stride[0], step, width, <int>size
        )
    return buffer


cdef inline void terms_or_offsets(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p, bint offsets,
    floating* out,
) noexcept nogil:
    if offsets:
        write_offsets(x, y, <const floating*>NULL, n, p, out)
    else:
        write_terms(x, y, <const floating*>NULL, n, p, out)


cdef inline void transpose(
    const floating* a, Py_ssize_t rows, Py_ssize_t width, floating* out
) noexcept nogil:
    cdef Py_ssize_t i, c
    for i in range(rows):
        for c in range(width):
            out[i * width + c] = a[c * rows + i]


cdef const floating* slab_terms(
    const Job* job, const char* x, const char* y, Py_ssize_t rows, Py_ssize_t width,
    bint offsets, floating* a, floating* b,
) noexcept nogil:
    """The terms of a slab, or what is to be subtracted from them, [row][output]."""
    cdef Params* p = &job.params[0]
    cdef Py_ssize_t x_step = job.x.kept_stride[job.x.n_kept - 1]
    cdef Py_ssize_t y_step = job.y.kept_stride[job.y.n_kept - 1]
    cdef Py_ssize_t size = sizeof(floating), c
    if job.x.stride[0] == size and job.y.stride[0] == size and rows > 1:
        # The elements of an output are contiguous: transposing comes last, and once.
        if x_step == rows * size and y_step == rows * size:
            terms_or_offsets(
                <const floating*>x, <const floating*>y, rows * width, p, offsets, a
            )
        else:
            for c in range(width):
                terms_or_offsets(
                    <const floating*>(x + c * x_step), <const floating*>(y + c * y_step),
                    rows, p, offsets, a + c * rows,
                )
        # Known to the compiler, a few rows are transposed by shuffles.
        if rows == 2:
            transpose(a, 2, width, b)
        elif rows == 3:
            transpose(a, 3, width, b)
        elif rows == 4:
            transpose(a, 4, width, b)
        else:
            transpose(a, rows, width, b)
        return b
    terms_or_offsets(
        slab_of(&job.x, x, rows, width, a), slab_of(&job.y, y, rows, width, b),
        rows * width, p, offsets, a,
    )
    return a


cdef inline void add_terms(
    const floating* terms, Py_ssize_t n, double* hi, double* lo
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        lane_add(hi, lo, j, terms[j], terms[j])


cdef inline void add_slab(
    const floating* terms, Py_ssize_t rows, Py_ssize_t width, double* hi, double* lo
) noexcept nogil:
    """Row i goes to lane i % LANES, in the order of sum_buffer."""
    cdef Py_ssize_t n = LANES * width, j
    cdef double first, second
    if rows == 2 * LANES:
        for j in range(n):
            first = terms[j]
            second = terms[j + n]
            lane_add(hi, lo, j, first + second, terms[j])
    elif rows <= LANES:
        add_terms(terms, rows * width, hi, lo)
    else:
        add_terms(terms, n, hi, lo)
        add_terms(terms + n, rows * width - n, hi, lo)


cdef inline Py_ssize_t fold_terms(
    const floating* terms, Py_ssize_t n, Py_ssize_t width, double* hi, double* lo
) noexcept nogil:
    """Fill n lanes with a row each and fold them once; return how many lanes are left."""
    cdef Py_ssize_t half = LANES // 2, folded, j
    cdef Pair r
    if n == 1:
        half = folded = 0
    else:
        while half >= n:
            half = half // 2
        folded = (n - half) * width
    for j in range(folded):
        if floating is float:
            hi[j] = <double>terms[j] + terms[j + half * width]
        else:
            r = two_sum(terms[j], terms[j + half * width])
            hi[j] = r.hi
            lo[j] = r.lo
    n = half if half > 0 else 1
    for j in range(folded, n * width):
        hi[j] = terms[j]
        lo[j] = 0.0
    if floating is float:  # which has no low parts
        for j in range(width):
            lo[j] = 0.0
    return n


cdef void sum_columns(
    const Job* job, Py_ssize_t output, Py_ssize_t width, Py_ssize_t leaf, Columns* sums,
    const floating* tag,
) noexcept nogil:
    """One leaf each of neighbouring outputs, vectorised over the outputs.

    For reductions whose outputs are adjacent in memory (axis 0 of a C-ordered array), or
    too short to be vectorised one by one. Each output gets the bits that run_leaf gives.

    OUT: the sums of output c in hi[c], lo[c] and linear[c].
    """
    cdef Py_ssize_t start = leaf * LEAF
    cdef Py_ssize_t n = job.n - start if job.n - start < LEAF else LEAF
    cdef const char* x = job.x.data + kept_offset(&job.x, output) + start * job.x.stride[0]
    cdef const char* y = job.y.data + kept_offset(&job.y, output) + start * job.y.stride[0]
    cdef Py_ssize_t used = n if n < LANES else LANES, i = 0, c, j, rows, half
    cdef char space[2 * SLAB * TILE * 8 + LINE]
    cdef floating* a = <floating*>aligned(space)
    cdef floating* b = a + SLAB * TILE
    cdef const floating* terms
    cdef Pair r
    for c in range(width):
        sums.linear[c] = 0.0
    if n > LANES:
        for j in range(LANES * width):
            sums.hi[j] = 0.0
            sums.lo[j] = 0.0
    while i < n:
        rows = SLAB if n - i > SLAB else n - i
        terms = slab_terms(job, x, y, rows, width, False, a, b)
        if n > LANES:
            add_slab(terms, rows, width, sums.hi, sums.lo)
        else:
            used = fold_terms(terms, n, width, sums.hi, sums.lo)
        if job.params[0].form != PRODUCT:
            terms = slab_terms(job, x, y, rows, width, True, a, b)
            for j in range(rows):
                for c in range(width):
                    sums.linear[c] += terms[j * width + c]
        x += rows * job.x.stride[0]
        y += rows * job.y.stride[0]
        i += rows
    half = LANES // 2
    while half > 0:
        # Lanes that took in nothing are left out.
        for j in range((half if half < used - half else used - half) * width):
            if floating is float:
                sums.hi[j] += sums.hi[j + half * width]
            else:
                r = two_sum(sums.hi[j], sums.hi[j + half * width])
                sums.hi[j] = r.hi
                sums.lo[j] = (sums.lo[j] + sums.lo[j + half * width]) + r.lo
        half = half // 2


cdef bint suits_columns(Job* job) noexcept nogil:
    """Whether sum_columns can do the job, and is the better way.

    Kept axes are merged for it where the strides of both arrays allow.
    """
    cdef Operand* x = &job.x
    cdef Operand* y = &job.y
    cdef Py_ssize_t size = x.itemsize
    cdef int axis, last = 0
    if (
        job.outputs <= 1 or job.n == 0 or job.n_params > 1
        or job.has_beta or job.has_weight or job.has_where or job.params[0].form == ARRAY
        or not x.typed or not y.typed or x.ndim > 1 or y.ndim > 1
    ):
        return False
    for axis in range(1, x.n_kept):
        if (
            x.kept_stride[last] == x.kept_stride[axis] * x.kept_shape[axis]
            and y.kept_stride[last] == y.kept_stride[axis] * x.kept_shape[axis]
            or x.kept_shape[last] == 1
        ):
            x.kept_shape[last] = y.kept_shape[last] = x.kept_shape[last] * x.kept_shape[axis]
        else:
            last += 1
            x.kept_shape[last] = y.kept_shape[last] = x.kept_shape[axis]
        x.kept_stride[last] = x.kept_stride[axis]
        y.kept_stride[last] = y.kept_stride[axis]
    x.n_kept = y.n_kept = last + 1
    return x.kept_shape[last] > 1 and (
        job.n <= SHORT or x.kept_stride[last] == size and y.kept_stride[last] == size
    )


cdef void run_columns(
    const Job* job, Py_ssize_t output, Py_ssize_t stop, Py_ssize_t leaf,
    Py_ssize_t leaves, Node* nodes, Sink* sink,
) noexcept nogil:
    """One leaf of the outputs from ``output`` to ``stop``.

    OUT: nodes[0], nodes[leaves], ..., or, of outputs of a single leaf, their results.
    """
    cdef Columns sums
    cdef Py_ssize_t extent = job.x.kept_shape[job.x.n_kept - 1], width, c
    while output < stop:
        # Neighbours are those along the last of the kept axes.
        width = extent - output % extent
        if width > stop - output:
            width = stop - output
        if job.single:
            sum_columns(job, output, width, leaf, &sums, <const float*>NULL)
        else:
            sum_columns(job, output, width, leaf, &sums, <const double*>NULL)
        if nodes is NULL:
            deliver_columns(job, output, width, &sums, sink)
        else:
            for c in range(width):
                nodes[0] = no_node()
                nodes.loss.hi = sums.hi[c]
                nodes.loss.lo = sums.lo[c]
                nodes.linear.hi = sums.linear[c]
                nodes.count = job.n - leaf * LEAF if job.n - leaf * LEAF < LEAF else LEAF
                nodes += leaves
        output += width


cdef inline void run_task(
    const Job* job, Py_ssize_t first_output, Py_ssize_t outputs, Py_ssize_t block,
    Py_ssize_t width, Py_ssize_t first_leaf, Py_ssize_t leaves, Py_ssize_t leaf,
    Node* nodes, char* scratch, Sink* sink,
) noexcept nogil:
    """One leaf of the outputs from ``first_output + block`` on, at most ``width`` of them."""
    cdef Py_ssize_t stop = block + width if block + width < outputs else outputs
    if nodes is not NULL:
        nodes += (block * leaves + leaf) * job.n_params
    if job.side_by_side:
        run_columns(
            job, first_output + block, first_output + stop, first_leaf + leaf, leaves,
            nodes, sink,
        )
    else:
        leaf_of_any_type(job, first_output + block, first_leaf + leaf, nodes, scratch)


cdef Node no_node() noexcept nogil:
    cdef Node node
    node.loss = pair_of(0.0)
    node.linear = pair_of(0.0)
    node.weight = pair_of(0.0)
    node.count = 0.0
    node.below = 0.0
    return node


cdef inline void add_node(Node* a, const Node* b) noexcept nogil:
    a.loss = pair_add(a.loss, b.loss)
    a.linear = pair_add(a.linear, b.linear)
    a.weight = pair_add(a.weight, b.weight)
    a.count += b.count
    a.below += b.below


cdef struct Stack:
    # The tree, built from the left: node[i] is the finished subtree of 2**i groups
    # of leaves, if bit i of ``groups`` is set. 2**40 groups are 2**63 elements.
    Py_ssize_t groups
    Node node[40]


cdef void stack_push(Stack* stack, const Node* node) noexcept nogil:
    cdef Node sum = node[0]
    cdef Node left
    cdef int level = 0
    while (stack.groups >> level) & 1:
        left = stack.node[level]
        add_node(&left, &sum)
        sum = left
        level += 1
    stack.node[level] = sum
    stack.groups += 1


cdef Node stack_sum(const Stack* stack) noexcept nogil:
    """The root; a subtree without a right neighbour moves up as it is."""
    cdef Node sum = no_node()
    cdef Node left
    cdef bint empty = True
    cdef int level
    for level in range(40):
        if (stack.groups >> level) & 1:
            left = stack.node[level]
            if not empty:
                add_node(&left, &sum)
            sum = left
            empty = False
    return sum


cdef void tree_sum(Node* nodes, Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    """Sum nodes[0], nodes[step], ..., n of them, by a perfect binary tree into nodes[0]."""
    cdef Py_ssize_t width = 1, i
    while width < n:
        i = 0
        while i + width < n:
            add_node(&nodes[i * step], &nodes[(i + width) * step])
            i += 2 * width
        width *= 2


# A team waits for its last thread. On a machine whose processors are all busy that can be
# milliseconds, hundreds of times the work. So what a slow team lost is a debt, repaid by
# running that much of later work, many times over, on one thread: the mean time of a call
# stays near that of a serial one, and threads are back soon after the processors are.
# Calls at the same time may lose an update of the debt; it is an estimate anyway.

cdef enum:
    REPAYMENT = 8

cdef inline void note_time(double* seconds) noexcept nogil:
    # By address: a variable assigned in the loop would be private to each thread.
    seconds[0] = omp_get_wtime()


cdef void charge(double total, double own) noexcept nogil:
    """Note the seconds of a team, and those of this thread's own share."""
    global smoothl1_debt
    if total > 4.0 * own:
        smoothl1_debt = REPAYMENT * (total - own)


cdef void repay(double seconds) noexcept nogil:
    global smoothl1_debt
    smoothl1_debt = smoothl1_debt - seconds


cdef int run_group(
    const Job* job, Py_ssize_t first_output, Py_ssize_t outputs,
    Py_ssize_t first_leaf, Py_ssize_t leaves, Node* nodes, char* scratch,
    Py_ssize_t scratch_size, Sink* sink,
) except -1:
    """Run outputs x leaves leaves, neighbouring outputs first, on the job's threads."""
    global smoothl1_team_started
    cdef Py_ssize_t width = TILE if job.side_by_side else 1
    cdef Py_ssize_t blocks = (outputs + width - 1) // width
    cdef Py_ssize_t task, tasks = blocks * leaves
    cdef int n_threads = job.n_threads if job.n_threads < tasks else <int>tasks
    cdef Py_ssize_t own = 0  # the last task of this thread
    cdef double start = 0.0, began = 0.0, finished = 0.0
    with nogil:
        if n_threads > 1:
            n_threads = smoothl1_startable(n_threads)
        if job.times:
            start = omp_get_wtime()
        if n_threads <= 1:
            for task in range(tasks):
                run_task(
                    job, first_output, outputs, (task % blocks) * width, width,
                    first_leaf, leaves, task // blocks, nodes, scratch, sink,
                )
        else:
            smoothl1_team_started = 1
            own = (tasks + n_threads - 1) // n_threads - 1
            for task in prange(tasks, num_threads=n_threads, schedule="static"):
                if task == 0:
                    note_time(&began)
                run_task(
                    job, first_output, outputs, (task % blocks) * width, width,
                    first_leaf, leaves, task // blocks, nodes,
                    scratch + threadid() * scratch_size, sink,
                )
                if task == own:
                    note_time(&finished)
            charge(omp_get_wtime() - start, finished - began)
    if job.times and n_threads <= 1:
        repay(omp_get_wtime() - start)
    return PyErr_CheckSignals()


cdef inline double finish_single(
    double sum, double linear, double offset, double scale
) noexcept nogil:
    """The reduced loss for float32, whose rounding hides those of float64.

    Without a division, and without a branch, so that a row of results vectorises.
    """
    # sum is at least twice what is subtracted, so little cancels.
    cdef double rest = linear * offset if abs(sum) <= DBL_MAX else 0.0
    return (sum + rest) * scale


cdef inline double finish_double(
    Pair sum, Pair linear, Pair offset, Pair divisor
) noexcept nogil:
    """The same for float64 and finite sums, in double-double up to the one rounding."""
    cdef double loss
    sum = pair_over(pair_add(sum, pair_times(linear, offset)), divisor)
    loss = sum.hi + sum.lo
    return loss if abs(loss) <= DBL_MAX else sum.hi


cdef double finish(Pair sum, Pair linear, Pair divisor, const Params* p) noexcept nogil:
    """The reduced loss before its one rounding to the working dtype."""
    divisor = pair_times(divisor, pair_of(p.over))
    if p.single:
        return finish_single(sum.hi, linear.hi, p.offset.hi, 1.0 / divisor.hi)
    if not isfinite(sum.hi) or not isfinite(divisor.hi) or divisor.hi == 0.0:
        return sum.hi / divisor.hi
    return finish_double(sum, linear, p.offset, divisor)


cdef inline Pair divisor_of(Reduction reduction, double count, Pair weight) noexcept nogil:
    return weight if reduction == WEIGHTED_MEAN else pair_of(count if reduction == MEAN else 1.0)


cdef void deliver(
    const Job* job, Py_ssize_t output, const Node* nodes, Sink* sink
) noexcept nogil:
    """Finish the sums of one output."""
    cdef int k
    cdef Pair divisor = divisor_of(sink.reduction, nodes[0].count, nodes[0].weight)
    cdef double loss
    if abs(divisor.hi + divisor.lo) < sink.smallest:
        sink.smallest = abs(divisor.hi + divisor.lo)
    for k in range(job.n_params):
        loss = finish(nodes[k].loss, nodes[k].linear, divisor, &job.params[k])
        if sink.narrow:
            (<float*>sink.results)[output * job.n_params + k] = <float>loss
        else:
            (<double*>sink.results)[output * job.n_params + k] = loss


cdef void deliver_columns(
    const Job* job, Py_ssize_t output, Py_ssize_t width, const Columns* sums, Sink* sink
) noexcept nogil:
    """Finish the sums of neighbouring outputs of a single leaf each."""
    cdef Params* p = &job.params[0]
    cdef Pair divisor = divisor_of(sink.reduction, job.n, pair_of(0.0)), sum
    cdef Pair over = pair_times(divisor, pair_of(p.over)), offset = p.offset
    cdef float* narrow = <float*>sink.results + output
    cdef double* wide = <double*>sink.results + output
    cdef double scale = 1.0 / over.hi
    cdef int64_t huge = 0
    cdef Py_ssize_t c
    if sink.narrow:
        for c in range(width):
            narrow[c] = <float>finish_single(sums.hi[c], sums.linear[c], offset.hi, scale)
        return
    for c in range(width):
        huge += not abs(sums.hi[c]) <= DBL_MAX  # or NaN
    if job.single or huge > 0:
        for c in range(width):
            sum.hi = sums.hi[c]
            sum.lo = sums.lo[c]
            wide[c] = finish(sum, pair_of(sums.linear[c]), divisor, p)
        return
    for c in range(width):
        sum.hi = sums.hi[c]
        sum.lo = sums.lo[c]
        wide[c] = finish_double(sum, pair_of(sums.linear[c]), offset, over)


cdef void* allocate(Py_ssize_t size) except? NULL:
    cdef void* memory = malloc(size) if size > 0 else NULL
    if size > 0 and memory is NULL:
        raise MemoryError(f"no memory for {size} bytes of buffers")
    return memory


cdef int run(Job* job, Node* totals, Sink* sink) except -1:
    """Run a job whose elements, operands and parameters are set.

    OUT: for a job that reduces, either sink, or, for a single output without a sink,
    totals[k], the sums for parameter set k.
    """
    cdef long calls
    job.leaves = (job.n + LEAF - 1) // LEAF
    job.packs = False
    job.times = False
    if job.outputs == 1 and job.leaves == 1 and not job.has_scratch:
        # Too short to be worth releasing the GIL.
        leaf_of_any_type(job, 0, 0, totals, NULL)
        return 0
    if <double>job.n * job.outputs * job.n_params <= GRAIN:
        job.n_threads = 1
        return run_groups(job, totals, sink)
    calls = smoothl1_enter()
    try:
        job.n_threads = team(job, calls)
        return run_groups(job, totals, sink)
    finally:
        smoothl1_leave()


cdef int run_groups(Job* job, Node* totals, Sink* sink) except -1:
    """The same on a known number of threads."""
    cdef Py_ssize_t size = 0, tile, group, first, o, outputs, leaf, leaves
    cdef int k, m = job.n_params
    cdef Node* nodes = NULL
    cdef char* scratch = NULL
    cdef Stack* stacks = NULL
    cdef Node* node
    if job.side_by_side and job.leaves == 1 and sink is not NULL:
        # Many short outputs: no tree, and results straight from the columns.
        tile = GROUP * TILE  # outputs between two barriers: at most a group's elements, too
        if tile * job.n > GROUP * LEAF:
            tile = GROUP * LEAF // job.n // TILE * TILE
        first = 0
        while first < job.outputs:
            outputs = tile if tile < job.outputs - first else job.outputs - first
            run_group(job, first, outputs, 0, 1, NULL, NULL, 0, sink)
            first += outputs
        sink.smallest = divisor_of(sink.reduction, job.n, pair_of(0.0)).hi
        return 0
    # Leaves of an output are taken in groups of a power of two, so that each group is a
    # subtree; what is left of the group's size goes to further outputs, side by side.
    group = 1
    while group < job.leaves and group < GROUP:
        group *= 2
    tile = GROUP // group
    if tile < TILE and job.outputs > 1:
        tile = TILE
        group = GROUP // TILE
    while group > 1 and group * m > 4 * GROUP:
        group //= 2
    if tile > job.outputs:
        tile = job.outputs
    job.packs = job.has_scratch and (
        job.has_where or job.has_factor
        or job.operation == BOTH or job.operation == CURVATURE or job.operation == WEIGHTS
        or job.operation != SUM and not job.out.direct
        or job.has_beta and not job.beta.direct
        or job.has_weight and not job.weight.direct
        or not (job.x.direct and job.y.direct)
    )
    if job.has_scratch:
        size = BUFFERS * (job.n if job.n < BLOCK else BLOCK) * sizeof(double)
        size += m * sizeof(Running)
    try:
        scratch = <char*>allocate(size * job.n_threads)
        if job.reduce:
            nodes = <Node*>allocate(
                tile * m * (group if group < job.leaves else job.leaves + 1) * sizeof(Node)
            )
            if job.leaves > group:
                stacks = <Stack*>allocate(tile * m * sizeof(Stack))
        first = 0
        while first < job.outputs:
            outputs = tile if tile < job.outputs - first else job.outputs - first
            if stacks is not NULL:
                for o in range(outputs * m):
                    stacks[o].groups = 0
            leaf = leaves = 0
            while leaf < job.leaves:
                leaves = group if group < job.leaves - leaf else job.leaves - leaf
                run_group(job, first, outputs, leaf, leaves, nodes, scratch, size, sink)
                leaf += leaves
                if not job.reduce:
                    continue
                for o in range(outputs):
                    for k in range(m):
                        node = &nodes[o * leaves * m + k]
                        tree_sum(node, leaves, m)
                        if stacks is not NULL:
                            stack_push(&stacks[o * m + k], node)
            first += outputs
            if not job.reduce:
                continue
            # The roots: in the stacks, or else in the first node of each output.
            for o in range(outputs):
                node = &nodes[o * leaves * m]
                for k in range(m):
                    if job.leaves == 0:
                        node[k] = no_node()
                    elif stacks is not NULL:
                        node[k] = stack_sum(&stacks[o * m + k])
                    if sink is NULL:
                        totals[k] = node[k]
                if sink is not NULL:
                    deliver(job, first - outputs + o, node, sink)
    finally:
        free(nodes)
        free(scratch)
        free(stacks)
    return 0


# ---------------------------------------------------------------------------
# Threads
# ---------------------------------------------------------------------------

def thread_limit():
    """The largest number of threads that a call without ``n_threads`` uses.

    What was asked for (``set_num_threads``, ``num_threads``, the environment), else
    OpenMP's own limit, capped by the processors that this process may use.
    """
    requested = _threads.requested()
    if requested is not None:
        return requested
    return min(omp_get_max_threads(), omp_get_num_procs(), _threads.cpu_quota())


cdef int team(Job* job, long calls) except -1:
    """Threads for this job: no more than its work is worth.

    ``calls``, this one included, are under way. They share the limit of the process; that
    of a call or of a block is each caller's own.
    """
    cdef double work = <double>job.n * job.outputs * job.n_params
    cdef int limit = job.n_threads
    if limit == 1 or smoothl1_team_lost or omp_in_parallel():
        return 1
    if limit == 0:
        limit = thread_limit()
        if calls > 1 and not _threads.in_block():
            limit = limit // calls if limit > calls else 1
    if work / GRAIN < limit:
        limit = 1 + <int>((work - 1) // GRAIN)
    if limit > MOST_THREADS and limit > omp_get_num_procs():
        limit = max(MOST_THREADS, omp_get_num_procs())
    if limit == 1 or not SMOOTHL1_OPENMP:
        return 1
    job.times = True
    return limit if smoothl1_debt <= 0.0 else 1


def team_state():
    """Whether this process ran a team, and whether it was forked from one that had."""
    return bool(smoothl1_team_started), bool(smoothl1_team_lost)


def team_debt(seconds=None):
    """Seconds of work still to be run on one thread after a slow team; optionally set them."""
    global smoothl1_debt
    if seconds is not None:
        smoothl1_debt = seconds
    return smoothl1_debt


def openmp_version():
    """The date of the OpenMP specification built against, as yyyymm; 0 without OpenMP."""
    return SMOOTHL1_OPENMP


# ---------------------------------------------------------------------------
# From Python: the fast path
# ---------------------------------------------------------------------------

cdef object MEAN_NAME = "mean"
cdef object SUM_NAME = "sum"
cdef object NONE_NAME = "none"


cdef inline void clear_options(Job* job) noexcept:
    job.has_beta = False
    job.has_weight = False
    job.has_factor = False
    job.has_where = False
    job.count_below = False
    job.sum_weights = False
    job.side_by_side = False
    job.streams = False


cdef bint plain(Job* job, Params* p, object input, object target, object beta, bint huber):
    """Set up the job for two plain arrays; False if they, or beta, are anything else."""
    cdef cnp.ndarray x, y
    cdef int typenum, axis, ndim
    cdef double threshold
    cdef int itemsize
    if not (cnp.PyArray_CheckExact(input) and cnp.PyArray_CheckExact(target)):
        return False
    x = <cnp.ndarray>input
    y = <cnp.ndarray>target
    typenum = cnp.PyArray_TYPE(x)
    ndim = cnp.PyArray_NDIM(x)
    if (
        typenum != cnp.PyArray_TYPE(y) or ndim != cnp.PyArray_NDIM(y)
        or not (typenum == cnp.NPY_FLOAT32 or typenum == cnp.NPY_FLOAT64)
        or not PyArray_ISCARRAY_RO(x) or not PyArray_ISCARRAY_RO(y)
    ):
        return False
    for axis in range(ndim):
        if cnp.PyArray_DIM(x, axis) != cnp.PyArray_DIM(y, axis):
            return False
    if isinstance(beta, float) or type(beta) is int:
        try:
            threshold = beta
        except OverflowError:
            return False
    else:
        return False
    if not (threshold > 0.0 or threshold == 0.0 and not huber):
        return False
    job.n = cnp.PyArray_SIZE(x)
    if job.n == 0:
        return False
    job.single = typenum == cnp.NPY_FLOAT32
    make_params(p, threshold, huber, job.single, False)
    if p.form == ARRAY or huber and p.beta == 0.0:
        return False
    itemsize = 4 if job.single else 8
    set_flat(&job.x, x, job.n, itemsize)
    set_flat(&job.y, y, job.n, itemsize)
    clear_options(job)
    job.has_scratch = False
    job.scale = 1.0
    job.outputs = 1
    job.n_params = 1
    job.params = p
    return True


cdef bint plain_out(Job* job, object input, object out):
    """Set up ``out`` if it is plain, too, and apart from the inputs."""
    cdef cnp.ndarray a
    cdef int axis
    cdef char* start
    cdef char* stop
    if not cnp.PyArray_CheckExact(out):
        return False
    a = <cnp.ndarray>out
    if (
        cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(<cnp.ndarray>input)
        or cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(<cnp.ndarray>input)
        or not PyArray_ISCARRAY(a)
    ):
        return False
    for axis in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, axis) != cnp.PyArray_DIM(<cnp.ndarray>input, axis):
            return False
    set_flat(&job.out, a, job.n, job.x.itemsize)
    start = job.out.data
    stop = start + job.n * job.x.itemsize
    return not (
        start < job.x.data + (stop - start) and job.x.data < stop
        or start < job.y.data + (stop - start) and job.y.data < stop
    )


cdef object scalar(const Node* node, Reduction reduction, const Params* p):
    cdef double loss = finish(
        node.loss, node.linear, divisor_of(reduction, node.count, node.weight), p
    )
    cdef float narrow
    if p.single:
        narrow = <float>loss
        return PyArray_Scalar(&narrow, cnp.PyArray_DescrFromType(cnp.NPY_FLOAT32), None)
    return PyArray_Scalar(&loss, cnp.PyArray_DescrFromType(cnp.NPY_FLOAT64), None)


cdef object empty_like(cnp.ndarray a):
    return cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(a), <cnp.npy_intp*>cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a), 0
    )


def fast_loss(input, target, reduction, beta, bint huber, out, n_threads):
    """The loss for plain arrays and no options; None for anything else."""
    cdef Job job
    cdef Params p
    cdef Node node
    cdef bint elementwise, given
    cdef Reduction how = MEAN
    if type(reduction) is not str:
        return None
    elementwise = reduction == NONE_NAME
    if not elementwise:
        if out is not None:
            return None
        if reduction == SUM_NAME:
            how = TOTAL
        elif reduction != MEAN_NAME:
            return None
    if not plain(&job, &p, input, target, beta, huber):
        return None
    job.n_threads = 0 if n_threads is None else _threads.check_n_threads(n_threads)
    job.reduce = not elementwise
    if elementwise:
        job.operation = VALUE
        given = out is not None
        if not given:
            out = empty_like(<cnp.ndarray>input)
        if not plain_out(&job, input, out):
            return None
        job.streams = given and job.n * job.x.itemsize >= STREAM
        run(&job, NULL, NULL)
        return out
    job.operation = SUM
    run(&job, &node, NULL)
    return scalar(&node, how, &p)


def fast_value_and_grad(input, target, reduction, beta, bint huber, out, bint loss_too, n_threads):
    """Gradient, with ``loss_too`` (loss, gradient), for plain arrays; None for others."""
    cdef Job job
    cdef Params p
    cdef Node node
    cdef bint given
    cdef Reduction how = TOTAL
    if type(reduction) is not str:
        return None
    if reduction == MEAN_NAME:
        how = MEAN
    elif reduction != SUM_NAME and (loss_too or reduction != NONE_NAME):
        return None
    if not plain(&job, &p, input, target, beta, huber):
        return None
    job.n_threads = 0 if n_threads is None else _threads.check_n_threads(n_threads)
    given = out is not None
    if not given:
        out = empty_like(<cnp.ndarray>input)
    if not plain_out(&job, input, out):
        return None
    job.streams = given and job.n * job.x.itemsize >= STREAM
    job.operation = SLOPE
    job.reduce = loss_too
    if how == MEAN:
        job.scale = 1.0 / job.n
    run(&job, &node, NULL)
    if not loss_too:
        return out
    return scalar(&node, how, &p), out


# ---------------------------------------------------------------------------
# From Python: everything else
# ---------------------------------------------------------------------------

cdef dict REDUCTIONS = {"mean": MEAN, "sum": TOTAL, "weighted_mean": WEIGHTED_MEAN}


cdef class Work:
    """One evaluation over arrays that ``smoothl1._arguments`` has checked.

    Parameters
    ----------
    input, target, beta, weight, factor, where : ndarray or None
        All of one shape (broadcast views), of dtype float16/32/64, any integer or
        bool; ``where`` is bool. ``beta`` holds thresholds per element; ``factor``
        multiplies gradients.
    betas : list of float
        Thresholds for all elements; several make a path. Ignored if ``beta`` is given.
    huber : bool
        Whether the loss is scaled as Huber's.
    single : bool
        Whether to work in float32, else in float64.
    n_kept : int
        The first ``n_kept`` axes are kept by ``sum``, the others are reduced.
    n_threads : int
        0 for the default.
    """

    cdef Job job
    cdef Params* params
    cdef tuple operands  # keeps them alive
    cdef bint huber

    def __cinit__(
        self, input, target, *, list betas, bint huber, bint single, beta=None,
        weight=None, factor=None, where=None, int n_kept=0, int n_threads=0,
    ):
        cdef Job* job = &self.job
        cdef char working = c"f" if single else c"d"
        cdef int k, axis
        cdef cnp.ndarray like = weight if input is None else input
        if not betas:
            raise ValueError("at least one threshold is needed")
        self.operands = (input, target, beta, weight, factor, where)
        job.single = single
        job.n_params = <int>len(betas)
        self.params = <Params*>allocate(job.n_params * sizeof(Params))
        job.params = self.params
        for k in range(job.n_params):
            make_params(&self.params[k], betas[k], huber, single, beta is not None)
        job.outputs = 1
        for axis in range(n_kept):
            job.outputs *= cnp.PyArray_DIM(like, axis)
        job.n = 1
        for axis in range(n_kept, cnp.PyArray_NDIM(like)):
            job.n *= cnp.PyArray_DIM(like, axis)
        job.n_threads = n_threads
        job.has_scratch = True
        job.scale = 1.0
        clear_options(job)
        if input is not None:
            set_operand(&job.x, input, n_kept, working)
            set_operand(&job.y, target, n_kept, working)
        if beta is not None:
            job.has_beta = True
            set_operand(&job.beta, beta, n_kept, working)
        if weight is not None:
            job.has_weight = True
            set_operand(&job.weight, weight, n_kept, working)
        if factor is not None:
            job.has_factor = True
            set_operand(&job.factor, factor, n_kept, working)
        if where is not None:
            job.has_where = True
            set_operand(&job.where, where, n_kept, working)

    def __dealloc__(self):
        free(self.params)

    def sum(self, str reduction, bint narrow=False):
        """Reduce the loss, each output and each threshold.

        Returns
        -------
        ndarray, shape (outputs, thresholds)
            Of float32 if ``narrow``, else of float64;
            nan where a mean is over no element or over weights that sum to 0.
        smallest : float
            The smallest divisor of a mean over the outputs, nan if there is no output.
        """
        self.job.operation = SUM
        self.job.side_by_side = suits_columns(&self.job)
        return self._reduce(reduction, narrow)

    cdef tuple _reduce(self, str reduction, bint narrow):
        cdef Sink sink
        cdef cnp.npy_intp size = self.job.outputs * self.job.n_params
        cdef cnp.ndarray results = cnp.PyArray_EMPTY(
            1, &size, cnp.NPY_FLOAT32 if narrow else cnp.NPY_FLOAT64, 0
        )
        sink.results = <char*>cnp.PyArray_DATA(results)
        sink.narrow = narrow
        sink.reduction = REDUCTIONS[reduction]
        sink.smallest = INFINITY
        self.job.reduce = True
        self.job.sum_weights = sink.reduction == WEIGHTED_MEAN
        run(&self.job, NULL, &sink)
        return (<object>results).reshape(self.job.outputs, self.job.n_params), sink.smallest

    def sum_weights(self):
        """The sum of the selected weights."""
        cdef Node total = no_node()
        self.job.operation = WEIGHTS
        self.job.reduce = True
        run(&self.job, &total, NULL)
        return total.weight.hi + total.weight.lo

    def write_values(self, out, bint overlaps):
        """Write the loss of each element to ``out``."""
        self.job.operation = VALUE
        self._write(out, overlaps, None)

    def write_slopes(self, out, bint overlaps, double scale, *, reduction=None, values=None):
        """Write ``scale`` times the gradient to ``out``, and what else is asked for.

        With a reduction, return the reduced loss as ``sum`` does; with ``values``, write
        the loss of each element there.
        """
        self.job.operation = SLOPE if values is None else BOTH
        self.job.scale = scale
        if values is not None:
            set_operand(&self.job.out2, values, 0, c"f" if self.job.single else c"d")
        return self._write(out, overlaps, reduction)

    def write_curvatures(self, out, out2, bint overlaps, bint majorize):
        """Write the gradient to ``out`` and the second derivative to ``out2``."""
        self.job.operation = CURVATURE
        self.job.hessian = MAJORIZER if majorize else EXACT_HESSIAN
        set_operand(&self.job.out2, out2, 0, c"f" if self.job.single else c"d")
        return self._write(out, overlaps, None)

    cdef object _write(self, cnp.ndarray out, bint overlaps, reduction):
        set_operand(&self.job.out, out, 0, c"f" if self.job.single else c"d")
        if overlaps:
            self.job.out.direct = False
        if reduction is not None:
            return self._reduce(reduction, False)
        self.job.reduce = False
        run(&self.job, NULL, NULL)
        return None


cdef class Totals:
    """Sums over a path of thresholds for arrays that arrive in pieces.

    If every piece but the last holds ``PIECE`` elements, a power of two of leaves, the
    result has the same bits as a single call on the whole.
    """

    cdef Stack* stacks
    cdef Work first  # for the parameters

    def __dealloc__(self):
        free(self.stacks)

    def add(self, Work work not None):
        """Add the sums of a piece; all pieces have the same thresholds."""
        cdef int k, m = work.job.n_params
        cdef Node* totals
        if work.job.outputs != 1:
            raise ValueError("a piece has no kept axes")
        if self.first is None:
            self.stacks = <Stack*>allocate(m * sizeof(Stack))
            for k in range(m):
                self.stacks[k].groups = 0
            self.first = work
        elif m != self.first.job.n_params:
            raise ValueError("all pieces have the same thresholds")
        work.job.operation = SUM
        work.job.reduce = True
        work.job.count_below = True
        work.job.sum_weights = True
        totals = <Node*>allocate(m * sizeof(Node))
        try:
            run(&work.job, totals, NULL)
            for k in range(m):
                stack_push(&self.stacks[k], &totals[k])
        finally:
            free(totals)

    def sum(self, str reduction):
        """Reduced losses, one for each threshold, and the divisor, as ``Work.sum``."""
        cdef int k
        cdef Sink sink
        cdef cnp.npy_intp size = self._size()
        cdef cnp.ndarray results = cnp.PyArray_EMPTY(1, &size, cnp.NPY_FLOAT64, 0)
        cdef Node* roots = <Node*>allocate(size * sizeof(Node))
        sink.results = <char*>cnp.PyArray_DATA(results)
        sink.narrow = False
        sink.reduction = REDUCTIONS[reduction]
        sink.smallest = INFINITY
        for k in range(size):
            roots[k] = stack_sum(&self.stacks[k])
        deliver(&self.first.job, 0, roots, &sink)
        free(roots)
        return (<object>results).reshape(1, size), sink.smallest

    def below(self):
        """The number of elements in the quadratic piece, for each threshold."""
        return [int(stack_sum(&self.stacks[k]).below) for k in range(self._size())]

    cdef int _size(self) except -1:
        if self.first is None:
            raise ValueError("no piece was added")
        return self.first.job.n_params


PIECE = 256 * LEAF


# ---------------------------------------------------------------------------
# Location
# ---------------------------------------------------------------------------
# The derivative of the sum of w smooth_l1(y - m; beta) with respect to m is, up to the factor
# beta, nondecreasing and piecewise linear,
#     G(m) = sum of w clip(m - y, -beta, beta),
# with corners at y - beta and y + beta. The search keeps a bracket of its root. An element
# with no corner strictly inside the bracket is one of three constants there, and is dropped:
# it is saturated (below or above the bracket) or linear all through it. Corners are rounded to
# float64; G is summed in double-double, but for the first addition of two elements. beta = 0
# gives the jumps of a median.

cdef enum:
    # Elements whose root predicts that of the others. Fewer are searched corner by corner.
    SAMPLE = 512

cdef struct Search:
    double beta
    double unit     # a power of two that keeps G from overflow and underflow
    double step     # what a saturated element of weight 1 contributes: beta * unit, 1 for beta = 0
    double lo       # the bracket, open: G(lo) < 0 < G(hi)
    double hi
    Pair net        # weight of the elements dropped as saturated, positive below the bracket
    Pair weight     # of those dropped as linear
    Pair moment     # sum of weight * y * unit of those
    uint64_t random

cdef struct Tally:
    Lanes net
    Lanes jump      # weight of the elements that jump from above to below at the point itself
    Lanes weight
    Lanes moment


cdef void tally_chunk(
    const double* y, const double* w, Py_ssize_t n, const Search* s, double lo, double hi,
    Tally* tally,
) noexcept nogil:
    """Sum what is saturated or linear between lo and hi, at most CHUNK elements."""
    cdef char space[4 * CHUNK * 8 + LINE]
    cdef double* net = <double*>aligned(space)
    cdef double* jump = net + CHUNK
    cdef double* weight = jump + CHUNK
    cdef double* moment = weight + CHUNK
    cdef double beta = s.beta, unit = s.unit, first, last, below, above, linear
    cdef Py_ssize_t i
    for i in range(n):
        first = y[i] - beta
        last = y[i] + beta
        below = w[i] if last <= lo else 0.0
        above = w[i] if first >= hi else 0.0
        net[i] = below - above
        jump[i] = below if first >= hi else 0.0
        linear = w[i] if (first <= lo) & (first < hi) else 0.0
        linear = linear if (last >= hi) & (last > lo) else 0.0
        weight[i] = linear
        moment[i] = linear * (y[i] * unit)
    sum_buffer(<const double*>net, n, &tally.net)
    sum_buffer(<const double*>weight, n, &tally.weight)
    sum_buffer(<const double*>moment, n, &tally.moment)
    if lo == hi:
        sum_buffer(<const double*>jump, n, &tally.jump)


cdef Py_ssize_t keep_active(
    const double* y, const double* w, Py_ssize_t n, const Search* s,
    double* kept_y, double* kept_w,
) noexcept nogil:
    """Move the elements of a chunk with a corner inside the bracket; return their number."""
    cdef int64_t active[CHUNK]
    cdef double beta = s.beta, lo = s.lo, hi = s.hi, first, last
    cdef Py_ssize_t i, k = 0
    for i in range(n):  # apart from the moves, so that it vectorises
        first = y[i] - beta
        last = y[i] + beta
        active[i] = ((first > lo) & (first < hi)) | ((last > lo) & (last < hi))
    for i in range(n):
        kept_y[k] = y[i]
        kept_w[k] = w[i]
        k += active[i]
    return k


cdef int check_signals() except -1 nogil:
    with gil:
        return PyErr_CheckSignals()


cdef Py_ssize_t classify(
    double* y, double* w, Py_ssize_t n, const Search* s, double lo, double hi, bint drop,
    Tally* tally,
) except -1 nogil:
    """Tally all elements; with ``drop``, keep the active ones only and return their number.

    w is NULL for weights of 1.
    """
    cdef double ones[CHUNK]
    cdef double unused[CHUNK]
    cdef double* weights = ones
    cdef double* kept_w = unused
    cdef Py_ssize_t i = 0, k = 0, m
    clear(&tally.net)
    clear(&tally.jump)
    clear(&tally.weight)
    clear(&tally.moment)
    if w is NULL:
        fill(1.0, CHUNK if n > CHUNK else n, ones)
    while i < n:
        m = CHUNK if n - i > CHUNK else n - i
        if w is not NULL:
            weights = w + i
            kept_w = w + k
        tally_chunk(y + i, weights, m, s, lo, hi, tally)
        if drop:
            k += keep_active(y + i, weights, m, s, y + k, kept_w)
        i += m
        if i % (GROUP * LEAF) == 0:
            check_signals()
    return k


cdef inline Pair total(Lanes* sums, Py_ssize_t n, Pair constant) noexcept nogil:
    return pair_add(fold(sums, n, <const double*>NULL), constant)


cdef Py_ssize_t narrow(Search* s, double* y, double* w, Py_ssize_t n) except -1 nogil:
    """Drop the elements without a corner in the bracket; return how many are left."""
    cdef Tally tally
    cdef Py_ssize_t k = classify(y, w, n, s, s.lo, s.hi, True, &tally)
    s.net = total(&tally.net, n, s.net)
    s.weight = total(&tally.weight, n, s.weight)
    s.moment = total(&tally.moment, n, s.moment)
    return k


cdef inline double slope_sum(
    const Search* s, double m, Pair net, Pair weight, Pair moment
) noexcept nogil:
    """G(m) from its three parts."""
    cdef Pair g = pair_times(pair_of(m * s.unit), weight)
    g = pair_add(g, pair_times(pair_of(-1.0), moment))
    g = pair_add(g, pair_times(pair_of(s.step), net))
    return g.hi + g.lo


cdef int evaluate(
    const Search* s, double* y, double* w, Py_ssize_t n, double m, double* left, double* right
) except -1 nogil:
    """G just left and just right of m."""
    cdef Tally tally
    cdef Pair net, weight, moment, jump
    classify(y, w, n, s, m, m, False, &tally)
    net = total(&tally.net, n, s.net)
    weight = total(&tally.weight, n, s.weight)
    moment = total(&tally.moment, n, s.moment)
    jump = total(&tally.jump, n, pair_of(0.0))
    right[0] = slope_sum(s, m, pair_add(net, jump), weight, moment)
    left[0] = slope_sum(s, m, pair_add(net, pair_times(pair_of(-1.0), jump)), weight, moment)
    return 0


cdef inline double between(double a, double b) noexcept nogil:
    cdef double middle = 0.5 * (a + b)
    return middle if isfinite(middle) else 0.5 * a + 0.5 * b


cdef double middle_of_flat(
    const Search* s, const double* y, Py_ssize_t n, double m, bint to_left, bint to_right
) noexcept nogil:
    """The middle of the interval around m, a root, where G is 0.

    It reaches to the next corner at which an element turns linear, on the sides where G is 0
    and no element is linear already.
    """
    cdef double lo = s.lo, hi = s.hi, first, last
    cdef Py_ssize_t i
    if s.weight.hi > 0.0:
        return m
    for i in range(n):
        first = y[i] - s.beta
        last = y[i] + s.beta
        to_left = to_left and not (first < m <= last)
        to_right = to_right and not (first <= m < last)
        if lo < last < m:
            lo = last
        if m < first < hi:
            hi = first
    return between(lo if to_left else m, hi if to_right else m)


cdef inline uint64_t draw(Search* s, uint64_t below) noexcept nogil:
    """A pseudo-random number: Knuth's linear congruential generator, its upper bits."""
    s.random = s.random * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
    return (s.random >> 33) % below


cdef int predict(
    Search* s, const double* y, const double* w, Py_ssize_t n, double* low, double* high
) except -1 nogil:
    """Two points that are likely to bracket the root closely, from a sample."""
    cdef double ys[SAMPLE]
    cdef double ws[SAMPLE]
    cdef double work_y[SAMPLE]
    cdef double work_w[SAMPLE]
    cdef Search of_sample
    cdef double root, d, part, margin = 0.0, down = ldexp(1.0, -440)
    cdef Pair ratio = pair_of(<double>SAMPLE / n)
    cdef Py_ssize_t i, stride = n // SAMPLE
    cdef int k
    for i in range(SAMPLE):
        k = <int>draw(s, stride)
        ys[i] = y[i * stride + k]
        ws[i] = 1.0 if w is NULL else w[i * stride + k]
    of_sample = s[0]
    of_sample.net = pair_times(s.net, ratio)
    of_sample.weight = pair_times(s.weight, ratio)
    of_sample.moment = pair_times(s.moment, ratio)
    memcpy(work_y, ys, sizeof(ys))
    memcpy(work_w, ws, sizeof(ws))
    root = solve(&of_sample, work_y, work_w, SAMPLE)
    for i in range(SAMPLE):
        d = root - ys[i]
        part = clip(d, s.beta) * s.unit if s.beta > 0.0 else <double>((d > 0.0) - (d < 0.0))
        part *= ws[i] * down  # whose square neither overflows nor underflows
        margin += part * part
    margin = 2.0 * sqrt(margin) / down  # two standard deviations of the sample's G
    for k in range(2):
        of_sample = s[0]
        of_sample.net = pair_times(s.net, ratio)
        of_sample.weight = pair_times(s.weight, ratio)
        of_sample.moment = pair_add(
            pair_times(s.moment, ratio), pair_of(margin if k else -margin)
        )
        memcpy(work_y, ys, sizeof(ys))
        memcpy(work_w, ws, sizeof(ws))
        root = solve(&of_sample, work_y, work_w, SAMPLE)
        if k:
            high[0] = root
        else:
            low[0] = root
    return 0


cdef double solve(Search* s, double* y, double* w, Py_ssize_t n) except? -1.0 nogil:
    """The root of G; the middle, where it is an interval. Overwrites y and w."""
    cdef double pivots[2]
    cdef double left, right, corner
    cdef Py_ssize_t i, before
    cdef int k, count
    cdef bint predicts = True
    cdef Pair g
    while n > 0:
        before = n
        count = 0
        if n > 2 * SAMPLE and predicts:
            predict(s, y, w, n, &pivots[0], &pivots[1])
            count = 2
        else:
            i = <Py_ssize_t>draw(s, n)
            corner = y[i] - s.beta
            if not s.lo < corner < s.hi:
                corner = y[i] + s.beta
            pivots[0] = corner
            count = 1
        k = 0
        while k < count:
            if s.lo < pivots[k] < s.hi:
                evaluate(s, y, w, n, pivots[k], &left, &right)
                if left > 0.0:
                    s.hi = pivots[k]
                elif right < 0.0:
                    s.lo = pivots[k]
                else:
                    return middle_of_flat(s, y, n, pivots[k], left == 0.0, right == 0.0)
                n = narrow(s, y, w, n)
            elif count == 1:
                n = narrow(s, y, w, n)  # an element without a corner inside
            k += 1
        # A prediction that failed is followed by a step that is sure to drop something.
        predicts = count == 1 or n <= before // 2
    g = pair_times(pair_of(s.step), s.net)
    g = pair_add(s.moment, pair_times(pair_of(-1.0), g))
    if s.weight.hi > 0.0:
        g = pair_over(g, s.weight)
        left = (g.hi + g.lo) / s.unit
        return s.lo if left < s.lo else (s.hi if left > s.hi else left)
    left = g.hi + g.lo
    return s.hi if left > 0.0 else (s.lo if left < 0.0 else between(s.lo, s.hi))


cdef void extent(const double* a, Py_ssize_t n, double* smallest, double* largest) noexcept nogil:
    """The least and the greatest element; inf and -inf for none."""
    cdef double low[16]
    cdef double high[16]
    cdef Py_ssize_t i, k
    for k in range(16):
        low[k] = INFINITY
        high[k] = -INFINITY
    for i in range(0, n - 15, 16):
        for k in range(16):
            low[k] = a[i + k] if a[i + k] < low[k] else low[k]
            high[k] = a[i + k] if a[i + k] > high[k] else high[k]
    for i in range(n - n % 16, n):
        low[0] = a[i] if a[i] < low[0] else low[0]
        high[0] = a[i] if a[i] > high[0] else high[0]
    smallest[0] = low[0]
    largest[0] = high[0]
    for k in range(1, 16):
        smallest[0] = low[k] if low[k] < smallest[0] else smallest[0]
        largest[0] = high[k] if high[k] > largest[0] else largest[0]


cdef Py_ssize_t normalise(double* y, double* w, Py_ssize_t n) noexcept nogil:
    """Bring the largest weight to [0.5, 1), drop elements of weight 0; return how many are left."""
    cdef double smallest, largest, factor, rest
    cdef int exponent
    cdef Py_ssize_t i, k = 0
    extent(w, n, &smallest, &largest)
    frexp(largest, &exponent)
    factor = ldexp(1.0, -exponent // 2)
    rest = ldexp(1.0, -exponent - -exponent // 2)
    for i in range(n):  # in two steps: their product might overflow
        w[i] = (w[i] * factor) * rest
    extent(w, n, &smallest, &largest)
    if smallest > 0.0:
        return n
    for i in range(n):
        y[k] = y[i]
        w[k] = w[i]
        k += w[k] > 0.0
    return k


def location(cnp.ndarray y, cnp.ndarray weight, double beta):
    """The minimiser of the sum of w smooth_l1(y - m; beta).

    ``y``, and ``weight`` unless it is None, are one-dimensional contiguous arrays of float64,
    checked by ``smoothl1.location``; both are overwritten.
    """
    cdef Search s
    cdef Py_ssize_t n = cnp.PyArray_SIZE(y)
    cdef double* a = <double*>cnp.PyArray_DATA(y)
    cdef double* w = NULL
    cdef double smallest, largest, result
    cdef int exponent
    if weight is not None:
        w = <double*>cnp.PyArray_DATA(weight)
    with nogil:
        if w is not NULL:
            n = normalise(a, w, n)
            check_signals()
        extent(a, n, &smallest, &largest)
        # Large values become 2**940, so that neither 2**64 of them overflow nor a small beta
        # underflows beside them; one that does is as good as 0.
        frexp(largest if largest > -smallest else -smallest, &exponent)
        s.unit = ldexp(1.0, 940 - exponent if exponent > -60 else 1000)
        s.beta = beta if beta * s.unit > ldexp(1.0, -900) else 0.0
        s.step = s.beta * s.unit if s.beta > 0.0 else 1.0
        if isinf(s.step):
            s.step = 0.0  # nothing is ever saturated
        s.lo = nextafter(smallest, -INFINITY)
        s.hi = nextafter(largest, INFINITY)
        s.net = s.weight = s.moment = pair_of(0.0)
        s.random = 0
        if smallest == largest:
            result = smallest
        else:
            result = solve(&s, a, w, n)
            result = smallest if result < smallest else result
            result = largest if result > largest else result
    return result


# ---------------------------------------------------------------------------
# Line search
# ---------------------------------------------------------------------------

def line_derivatives(
    const double[::1] residual, const double[::1] direction, const double[::1] weight,
    double step, double beta,
):
    """First and second derivative in t of sum w smooth_l1(r - t d; beta), at t = step.

    For 0 < beta < inf. The second is the sum of w d**2 / beta over the quadratic piece.
    """
    cdef double space[2 * CHUNK]
    cdef double* first = space
    cdef double* second = first + CHUNK
    cdef const double* r
    cdef const double* d
    cdef const double* w
    cdef Py_ssize_t n = residual.shape[0], start = 0, m, i
    cdef double z
    cdef Lanes slopes, curvatures
    if direction.shape[0] != n or weight.shape[0] != n:
        raise ValueError("residual, direction and weight must be of one length")
    if n == 0:
        return 0.0, 0.0
    with nogil:
        clear(&slopes)
        clear(&curvatures)
        while start < n:
            m = CHUNK if n - start > CHUNK else n - start
            r = &residual[start]
            d = &direction[start]
            w = &weight[start]
            for i in range(m):
                z = r[i] - step * d[i]
                first[i] = -w[i] * d[i] * (clip(z, beta) / beta)
                second[i] = curvature(abs(z), beta, w[i] * d[i] * d[i]) / beta
            sum_buffer(<const double*>first, m, &slopes)
            sum_buffer(<const double*>second, m, &curvatures)
            start += m
        first[0] = total(&slopes, n, pair_of(0.0)).hi
        second[0] = total(&curvatures, n, pair_of(0.0)).hi
    return first[0], second[0]
