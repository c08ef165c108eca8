"""Operands: what an array of any NumPy layout and dtype looks like to a loop in C.

An ``Operand`` has the array's memory, its dtype, and two lists of axes: those of the outputs, and
those walked within one output, merged where strides allow. It says at once which arrays can be
read in place. It does not change while a job runs, so that any number of threads may read it;
``packing.pxd`` loads what it describes. Nothing here reads or writes an element.
"""

from libc.stdlib cimport llabs

cimport numpy as cnp

from sizes cimport MAX_DIMS
from smoothl1._smoothl1 cimport floating
from stored cimport AS_IS, OTHERWISE, stored_as


cdef struct Operand:
    char* data
    char kind             # 'f', 'i', 'u' ('b' is read as 'u'), 'V': bfloat16
    int itemsize
    bint swap             # of the other byte order
    bint native           # aligned, of this machine's byte order
    bint typed            # native, of the working dtype
    bint plain            # native, contiguous
    int stored            # contiguous, and how a loop can read it (stored.pxd)
    bint direct           # all of these but the last: read in place ...
    double shrink         # ... unless what is loaded is multiplied by this, a power of two
    # Axes of the outputs (of an ``axis`` reduction; none otherwise) ...
    int n_kept
    Py_ssize_t* kept_shape
    Py_ssize_t* kept_stride
    # ... and the axes walked inside of one output, merged where strides allow.
    int ndim
    Py_ssize_t* shape
    Py_ssize_t* stride
    Py_ssize_t flat[2]    # shape and stride of a single axis


cdef inline Py_ssize_t axes_size(int ndim) noexcept nogil:
    """How many numbers ``use_axes`` needs: too many for a stack, operand by operand."""
    return 4 * (ndim + 1)


cdef inline void use_axes(Operand* op, Py_ssize_t* axes, int ndim) noexcept nogil:
    op.kept_shape = axes
    op.kept_stride = axes + (ndim + 1)
    op.shape = axes + 2 * (ndim + 1)
    op.stride = axes + 3 * (ndim + 1)


cdef inline void set_flat(Operand* op, void* data, Py_ssize_t n, int itemsize) noexcept:
    """Contiguous, aligned, native values of the working dtype."""
    op.data = <char*>data
    op.kind = c"f"
    op.itemsize = itemsize
    op.swap = False
    op.native = True
    op.typed = True
    op.plain = True
    op.stored = AS_IS
    op.direct = True
    op.shrink = 1.0
    op.n_kept = 0
    op.ndim = 1
    op.shape = &op.flat[0]
    op.stride = &op.flat[1]
    op.shape[0] = n
    op.stride[0] = itemsize


cdef inline int set_operand(
    Operand* op, cnp.ndarray a, const Py_ssize_t* order, int n_kept, bint single
) except -1:
    """Describe ``a``, its axes in some order; after ``use_axes``.

    The first ``n_kept`` of them are those of the outputs.
    """
    cdef int axis, i, ndim = cnp.PyArray_NDIM(a), last
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
    for i in range(n_kept):
        op.kept_shape[i] = cnp.PyArray_DIM(a, <int>order[i])
        op.kept_stride[i] = strides[order[i]]
    op.ndim = 0
    for i in range(n_kept, ndim):
        axis = <int>order[i]
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
    op.native = not op.swap and cnp.PyArray_ISALIGNED(a)
    op.plain = op.native and op.ndim == 1 and op.stride[0] == op.itemsize
    op.typed = op.native and op.kind == c"f" and op.itemsize == (4 if single else 8)
    op.stored = OTHERWISE
    if op.ndim == 1 and op.stride[0] == op.itemsize:
        op.stored = stored_as(op.kind, op.itemsize, op.swap, op.native, single)
    op.direct = op.typed and op.plain
    op.shrink = 1.0
    return 0


cdef inline void set_shrink(Operand* op, double shrink) noexcept nogil:
    """Have what is loaded multiplied; it is never read in place then."""
    op.shrink = shrink
    op.typed = op.plain = op.direct = False
    op.stored = OTHERWISE


cdef inline bint is_crossed(const Operand* op) noexcept nogil:
    """Whether a row is nearer to the next row than its elements are to each other."""
    cdef Py_ssize_t down
    if op.ndim < 2:
        return False
    down = llabs(op.stride[op.ndim - 2])
    return 0 < down < llabs(op.stride[op.ndim - 1])


cdef inline bint is_matrix(const Operand* op, Py_ssize_t columns) noexcept nogil:
    """Whether it is plain to see where its rows of ``columns`` begin."""
    return op.ndim == 2 and op.shape[1] == columns


cdef inline bint is_same(const Operand* op, floating tag) noexcept nogil:
    """Whether its items are of the working dtype, but for their bytes' order."""
    return op.kind == c"f" and op.itemsize == <int>sizeof(floating)


cdef inline Py_ssize_t kept_offset(const Operand* op, Py_ssize_t output) noexcept nogil:
    cdef int axis
    cdef Py_ssize_t offset = 0
    for axis in range(op.n_kept - 1, -1, -1):
        offset += (output % op.kept_shape[axis]) * op.kept_stride[axis]
        output = output // op.kept_shape[axis]
    return offset


cdef inline const char* run_of(
    const Operand* op, const char* data, Py_ssize_t start, Py_ssize_t n
) noexcept nogil:
    """Where n elements begin that are equally far apart; NULL if that is not plain to see."""
    cdef Py_ssize_t row
    if op.ndim == 1:
        return data + start * op.stride[0]
    if op.ndim == 2:
        row = start // op.shape[1]
        if start - row * op.shape[1] + n <= op.shape[1]:
            return data + row * op.stride[0] + (start - row * op.shape[1]) * op.stride[1]
    return NULL


cdef inline const floating* in_place(
    const Operand* op, Py_ssize_t output, Py_ssize_t start, floating tag
) noexcept nogil:
    """Elements of a direct operand, from ``start`` on."""
    return <const floating*>(op.data + kept_offset(op, output)) + start


cdef inline const char* stored_at(
    const Operand* op, Py_ssize_t output, Py_ssize_t start
) noexcept nogil:
    """The same of an operand that is read as it is stored."""
    return op.data + kept_offset(op, output) + start * op.itemsize
