"""The inner loops of the ufuncs: the kernels, over operands with the strides that NumPy passes.

NumPy chooses a loop, casts, aligns and broadcasts, and releases the GIL; it may call a loop many
times for one call of a ufunc, from any thread. So a loop starts no threads, and computes for the
threshold of its own call only what results of single elements need.
"""

from libc.math cimport NAN
from libc.string cimport memcpy

from numpy cimport npy_intp

from cache cimport aligned
from jobs cimport CURVATURE, Operation, SLOPE, VALUE
from kernels cimport (
    fill, mend_curvatures, mend_slopes, mend_values, write_curvatures, write_slopes, write_values,
)
from sizes cimport BLOCK, CHUNK, LINE
from smoothl1._smoothl1 cimport floating
from terms cimport Gradient, Params, set_threshold, unscaled

cdef extern from "<fenv.h>":
    const int FE_DIVBYZERO, FE_INVALID, FE_OVERFLOW, FE_UNDERFLOW
    int fetestexcept(int) noexcept nogil
    int feclearexcept(int) noexcept nogil


cdef enum:
    # Operands of a ufunc: input, target and threshold; then the result.
    INPUTS = 3
    RESULT = 3


cdef struct Formula:
    # What one of the ufuncs computes.
    Operation operation  # VALUE, SLOPE or CURVATURE
    bint huber


cdef inline bint is_threshold(floating beta, bint huber) noexcept nogil:
    """Whether it is neither negative nor NaN, nor 0 where that is no loss."""
    return beta > 0 or beta == 0 and not huber


cdef inline void refuse_thresholds(
    const floating* b, Py_ssize_t n, bint huber, floating* out
) noexcept nogil:
    """NaN for the elements whose threshold is none."""
    cdef Py_ssize_t i
    if huber:
        for i in range(n):
            out[i] = out[i] if b[i] > 0 else <floating>NAN
    else:
        for i in range(n):
            out[i] = out[i] if b[i] >= 0 else <floating>NAN


cdef inline void write_results(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n,
    const Params* p, Operation operation, floating* out,
) noexcept nogil:
    """Contiguous operands, ``out`` apart from them; b is NULL where one threshold is for all."""
    cdef Gradient one
    if operation == VALUE:
        write_values(x, y, b, n, p, out)
        mend_values(x, y, b, n, p, out)
    elif operation == SLOPE:
        one = unscaled()
        write_slopes(x, y, b, n, p, &one, out)
        mend_slopes(x, y, b, n, p, 1.0, out)
    else:
        write_curvatures(x, y, b, n, p, False, out)
        mend_curvatures(x, y, b, n, p, False, out)
    if b is not NULL:
        refuse_thresholds(b, n, p.huber, out)


cdef inline void gather(
    const char* place, npy_intp step, Py_ssize_t n, floating* packed
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        packed[i] = (<const floating*>(place + i * step))[0]


cdef inline void scatter(
    const floating* packed, Py_ssize_t n, char* place, npy_intp step
) noexcept nogil:
    cdef Py_ssize_t i
    if step == sizeof(floating):
        memcpy(place, packed, n * sizeof(floating))
    else:
        for i in range(n):
            (<floating*>(place + i * step))[0] = packed[i]


cdef inline bint share_memory(
    const char* a, npy_intp step_a, const char* b, npy_intp step_b, Py_ssize_t n, npy_intp size
) noexcept nogil:
    """Whether the ranges of two operands touch."""
    cdef npy_intp reach_a = (n - 1) * step_a, reach_b = (n - 1) * step_b
    return (
        a + (reach_a if reach_a < 0 else 0) < b + (reach_b if reach_b > 0 else 0) + size
        and b + (reach_b if reach_b < 0 else 0) < a + (reach_a if reach_a > 0 else 0) + size
    )


cdef inline void run_in_place(
    char** args, Py_ssize_t n, const Params* p, Operation operation, bint array, floating tag
) noexcept nogil:
    """Everything contiguous, the result apart from the operands."""
    cdef const floating* x = <const floating*>args[0]
    cdef const floating* y = <const floating*>args[1]
    cdef const floating* b = <const floating*>args[2]
    cdef floating* out = <floating*>args[RESULT]
    cdef Py_ssize_t i = 0, m
    while i < n:
        m = BLOCK if n - i > BLOCK else n - i
        write_results(
            x + i, y + i, b + i if array else <const floating*>NULL, m, p, operation, out + i
        )
        i += m


cdef inline void run_packed(
    char** args, const npy_intp* steps, Py_ssize_t n, const Params* p, Operation operation,
    bint array, floating tag,
) noexcept nogil:
    """Any strides, through buffers: a chunk is read as a whole before any of it is written.

    Which is right for all that overlaps, for NumPy copies an operand that is to be read after
    a result is written over it.
    """
    cdef char space[4 * CHUNK * 8 + LINE]
    cdef char* start = aligned(space)
    cdef floating* packed[INPUTS]
    cdef const floating* operands[INPUTS]
    cdef floating* out = <floating*>(start + RESULT * CHUNK * sizeof(double))
    cdef Py_ssize_t i = 0, m
    cdef int k
    operands[2] = NULL
    for k in range(INPUTS):
        packed[k] = <floating*>(start + k * CHUNK * sizeof(double))
    while i < n:
        m = CHUNK if n - i > CHUNK else n - i
        for k in range(INPUTS if array else INPUTS - 1):
            if steps[k] == sizeof(floating):
                operands[k] = <const floating*>args[k] + i
                continue
            operands[k] = packed[k]
            if steps[k] != 0:
                gather(args[k] + i * steps[k], steps[k], m, packed[k])
            elif i == 0:
                fill((<const floating*>args[k])[0], m, packed[k])
        write_results(operands[0], operands[1], operands[2], m, p, operation, out)
        scatter(out, m, args[RESULT] + i * steps[RESULT], steps[RESULT])
        i += m


cdef inline void run_threshold(
    char** args, npy_intp n, const npy_intp* steps, const Formula* formula, floating tag
) noexcept nogil:
    """One threshold for all, or one for each."""
    cdef bint array = n > 1 and steps[2] != 0, plain = True
    cdef floating beta = <floating>1 if array else (<const floating*>args[2])[0]
    cdef Params p
    cdef npy_intp i
    cdef int k
    if not is_threshold(beta, formula.huber):
        for i in range(n):
            (<floating*>(args[RESULT] + i * steps[RESULT]))[0] = <floating>NAN
        return
    set_threshold(&p, beta, formula.huber, floating is float, array)
    for k in range(INPUTS if array else INPUTS - 1):
        plain = (
            plain
            and (n == 1 or steps[k] == sizeof(floating))
            and not share_memory(
                args[k], steps[k], args[RESULT], steps[RESULT], n, sizeof(floating)
            )
        )
    if plain and (n == 1 or steps[RESULT] == sizeof(floating)):
        run_in_place(args, n, &p, formula.operation, array, tag)
    else:
        run_packed(args, steps, n, &p, formula.operation, array, tag)


cdef inline void run_loop(
    char** args, npy_intp n, const npy_intp* steps, const Formula* formula, floating tag
) noexcept nogil:
    """The loop of one ufunc for one dtype.

    NumPy warns of the exceptions that are raised, and here they mean nothing: both pieces of a
    selection are computed. What a cast raised before is left for NumPy to find.
    """
    cdef int flags = FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW | FE_UNDERFLOW
    cdef int before = fetestexcept(flags)
    if n > 0:
        run_threshold(args, n, steps, formula, tag)
    flags = fetestexcept(flags) & ~before
    if flags:
        feclearexcept(flags)  # which takes longer than to look


cdef inline void loop_single(
    char** args, const npy_intp* dimensions, const npy_intp* steps, void* formula
) noexcept nogil:
    run_loop(args, dimensions[0], steps, <const Formula*>formula, <float>0)


cdef inline void loop_double(
    char** args, const npy_intp* dimensions, const npy_intp* steps, void* formula
) noexcept nogil:
    run_loop(args, dimensions[0], steps, <const Formula*>formula, <double>0)
