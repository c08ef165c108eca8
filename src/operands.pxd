"""Operands: any NumPy layout and dtype, a block at a time.

A block of an array that is strided, broadcast, byte-swapped, unaligned or of another dtype is
packed into a small contiguous buffer; one that is contiguous and of the working dtype already is
read in place.

Operands are walked by code of this file rather than by ``NpyIter``: it keeps no state between
blocks, so that any thread can pack any leaf of any output at any time, without a copy of an
iterator per thread and without the GIL, and its conversions are vectorised with the instruction
set of the module. Where C order has short inner loops (a Fortran-ordered (n, 4) array),
``transfer`` exchanges the two loops inside a block; packing two such arrays with ``NpyIter`` alone
takes about as long as the whole reduction here (``Walk`` in ``asv_bench/benchmarks/layouts.py``).
"""

from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t,
)
from libc.string cimport memcpy

cimport numpy as cnp

from sizes cimport MAX_DIMS
from smoothl1._smoothl1 cimport floating


cdef extern from "numpy/halffloat.h":
    uint16_t npy_double_to_half(double d) nogil

cdef extern from "half.h":
    float smoothl1_float_of_half(uint16_t h) noexcept nogil
    uint16_t smoothl1_half_of_float(float f) noexcept nogil
    float smoothl1_float_of_bfloat(uint16_t b) noexcept nogil
    uint16_t smoothl1_bfloat_of_float(float f) noexcept nogil
    uint16_t smoothl1_bfloat_of_double(double d) noexcept nogil


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


cdef struct Operand:
    char* data
    char kind             # 'f', 'i', 'u' ('b' is read as 'u'), 'V': bfloat16
    int itemsize
    bint swap             # of the other byte order
    bint typed            # aligned, native, of the working dtype
    bint plain            # aligned, native, contiguous
    bint direct           # all of these: read in place ...
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


cdef enum:
    AXES = 4 * MAX_DIMS  # numbers that use_axes needs: too many for a stack, operand by operand


cdef inline void use_axes(Operand* op, Py_ssize_t* axes) noexcept nogil:
    op.kept_shape = axes
    op.kept_stride = axes + MAX_DIMS
    op.shape = axes + 2 * MAX_DIMS
    op.stride = axes + 3 * MAX_DIMS


cdef inline void set_flat(Operand* op, void* data, Py_ssize_t n, int itemsize) noexcept:
    """Contiguous, aligned, native values of the working dtype."""
    op.data = <char*>data
    op.kind = c"f"
    op.itemsize = itemsize
    op.swap = False
    op.typed = True
    op.plain = True
    op.direct = True
    op.shrink = 1.0
    op.n_kept = 0
    op.ndim = 1
    op.shape = &op.flat[0]
    op.stride = &op.flat[1]
    op.shape[0] = n
    op.stride[0] = itemsize


cdef inline int set_operand(Operand* op, cnp.ndarray a, int n_kept, bint single) except -1:
    """Describe ``a``, whose first ``n_kept`` axes are those of the outputs; after ``use_axes``."""
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
        op.kind == c"f" and op.itemsize == (4 if single else 8)
        and not op.swap and cnp.PyArray_ISALIGNED(a)
    )
    op.direct = op.typed and op.plain
    op.shrink = 1.0
    return 0


cdef inline void set_shrink(Operand* op, double shrink) noexcept nogil:
    """Have what is loaded multiplied; it is never read in place then."""
    op.shrink = shrink
    op.typed = op.plain = op.direct = False


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


cdef inline void repeat_items(
    item* to, const item* src, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """Each item ``columns`` times; known to the compiler, a few are moved as vectors."""
    cdef Py_ssize_t i, j
    if columns == 2:
        for i in range(rows):
            to[2 * i] = to[2 * i + 1] = src[i]
    elif columns == 3:
        for i in range(rows):
            to[3 * i] = to[3 * i + 1] = to[3 * i + 2] = src[i]
    elif columns == 4:
        for i in range(rows):
            to[4 * i] = to[4 * i + 1] = to[4 * i + 2] = to[4 * i + 3] = src[i]
    else:
        for i in range(rows):
            for j in range(columns):
                to[columns * i + j] = src[i]


cdef inline bint repeats(
    const Operand* op, char* data, char* buffer, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """Copy rows of one item each, repeated, if they are such and aligned."""
    if op.itemsize == 4 and <size_t>data % 4 == 0:
        repeat_items(<uint32_t*>buffer, <const uint32_t*>data, rows, columns)
    elif op.itemsize == 8 and <size_t>data % 8 == 0:
        repeat_items(<uint64_t*>buffer, <const uint64_t*>data, rows, columns)
    elif op.itemsize == 1:
        repeat_items(<uint8_t*>buffer, <const uint8_t*>data, rows, columns)
    else:
        return False
    return True


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


cdef inline void transfer(
    const Operand* op, char* data, Py_ssize_t start, Py_ssize_t n, char* buffer, bint gather
) noexcept nogil:
    """Copy elements start .. start + n (C order) of an operand to a buffer, or back."""
    cdef Py_ssize_t index[MAX_DIMS]
    cdef int axis, advanced, last = op.ndim - 1
    cdef Py_ssize_t left, columns = op.shape[last], rows, column, run
    cdef int size = op.itemsize
    cdef bint whole
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
        if rows > columns or rows > 1 and op.stride[last] == 0:
            # More rows than columns: the inner loop runs down the rows.
            whole = (
                gather and op.stride[last] == 0 and op.stride[last - 1] == size
                and repeats(op, data, buffer, rows, columns)
            )
            for column in range(0 if whole else columns):
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


cdef inline void swap_items(item* a, Py_ssize_t n) noexcept nogil:
    cdef uint64_t pairs = 0x0000ffff0000ffff, singles = 0x00ff00ff00ff00ff
    cdef Py_ssize_t i
    cdef item v
    for i in range(n):
        v = a[i]
        if item is uint16_t:
            a[i] = <uint16_t>((v << 8) | (v >> 8))
        elif item is uint32_t:
            a[i] = (v << 24) | ((v & 0xff00) << 8) | ((v >> 8) & 0xff00) | (v >> 24)
        elif item is uint64_t:
            v = (v << 32) | (v >> 32)
            v = ((v & pairs) << 16) | ((v >> 16) & pairs)
            a[i] = ((v & singles) << 8) | ((v >> 8) & singles)


cdef inline void swap_bytes(char* buffer, Py_ssize_t n, int itemsize) noexcept nogil:
    """Reverse the bytes of each of n items, which are aligned."""
    if itemsize == 2:
        swap_items(<uint16_t*>buffer, n)
    elif itemsize == 4:
        swap_items(<uint32_t*>buffer, n)
    elif itemsize == 8:
        swap_items(<uint64_t*>buffer, n)


cdef inline void convert(const source* a, Py_ssize_t n, floating* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = <floating>a[i]


cdef inline void convert_half(const uint16_t* a, Py_ssize_t n, floating* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = smoothl1_float_of_half(a[i])


cdef inline void convert_bfloat(const uint16_t* a, Py_ssize_t n, floating* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = smoothl1_float_of_bfloat(a[i])


cdef inline Py_ssize_t kept_offset(const Operand* op, Py_ssize_t output) noexcept nogil:
    cdef int axis
    cdef Py_ssize_t offset = 0
    for axis in range(op.n_kept - 1, -1, -1):
        offset += (output % op.kept_shape[axis]) * op.kept_stride[axis]
        output = output // op.kept_shape[axis]
    return offset


cdef inline void convert_any(
    char kind, int itemsize, const char* raw, Py_ssize_t n, floating* buffer
) noexcept nogil:
    """Items of a dtype other than the working one to the working dtype."""
    if kind == c"f":
        if itemsize == 2:
            convert_half(<const uint16_t*>raw, n, buffer)
        elif itemsize == 4:
            convert(<const float*>raw, n, buffer)
        else:
            convert(<const double*>raw, n, buffer)
    elif kind == c"V":
        convert_bfloat(<const uint16_t*>raw, n, buffer)
    elif kind == c"i":
        if itemsize == 1:
            convert(<const int8_t*>raw, n, buffer)
        elif itemsize == 2:
            convert(<const int16_t*>raw, n, buffer)
        elif itemsize == 4:
            convert(<const int32_t*>raw, n, buffer)
        else:
            convert(<const int64_t*>raw, n, buffer)
    else:
        if itemsize == 1:
            convert(<const uint8_t*>raw, n, buffer)
        elif itemsize == 2:
            convert(<const uint16_t*>raw, n, buffer)
        elif itemsize == 4:
            convert(<const uint32_t*>raw, n, buffer)
        else:
            convert(<const uint64_t*>raw, n, buffer)


cdef inline const floating* load(
    const Operand* op, Py_ssize_t output, Py_ssize_t start, Py_ssize_t n,
    char* raw, floating* buffer,
) noexcept nogil:
    """A block of an operand in the working dtype: in place if possible, else packed."""
    cdef char* data = op.data + kept_offset(op, output)
    cdef bint same = op.kind == c"f" and op.itemsize == <int>sizeof(floating)
    cdef char* target = <char*>buffer if same else raw
    cdef floating shrink = <floating>op.shrink
    cdef Py_ssize_t column, i
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
        target = data + start * op.itemsize
    else:
        transfer(op, data, start, n, target, True)
    if op.swap:
        swap_bytes(target, n, op.itemsize)
    if not same:
        convert_any(op.kind, op.itemsize, target, n, buffer)
    if op.shrink != 1.0:
        for i in range(n):
            buffer[i] = buffer[i] * shrink
    return buffer


cdef inline const uint8_t* load_mask(
    const Operand* op, Py_ssize_t output, Py_ssize_t start, Py_ssize_t n, char* buffer
) noexcept nogil:
    """A block of a boolean operand: in place if contiguous, else packed."""
    cdef char* data = op.data + kept_offset(op, output)
    if op.plain:
        return <const uint8_t*>(data + start)
    transfer(op, data, start, n, buffer, True)
    return <const uint8_t*>buffer


cdef inline uint16_t two_bytes(floating a, char kind) noexcept nogil:
    """A float of two bytes, rounded once."""
    if kind == c"V":
        if floating is float:
            return smoothl1_bfloat_of_float(a)
        else:
            return smoothl1_bfloat_of_double(a)
    elif floating is float:
        return smoothl1_half_of_float(a)
    else:
        return npy_double_to_half(a)


cdef inline void store(
    const Operand* op, Py_ssize_t start, Py_ssize_t n, char* raw, floating* buffer
) noexcept nogil:
    """Write a block of results to ``out``, converted to its dtype."""
    cdef Py_ssize_t i
    cdef char* result = raw
    if op.itemsize == <int>sizeof(floating):
        result = <char*>buffer
    elif op.itemsize == 2:
        if op.kind == c"V":
            for i in range(n):
                (<uint16_t*>raw)[i] = two_bytes(buffer[i], c"V")
        else:
            for i in range(n):
                (<uint16_t*>raw)[i] = two_bytes(buffer[i], c"f")
    elif op.itemsize == 4:
        convert(buffer, n, <float*>raw)
    else:
        convert(buffer, n, <double*>raw)
    if op.swap:
        swap_bytes(result, n, op.itemsize)
    transfer(op, op.data, start, n, result, False)
