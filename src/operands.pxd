"""Operands: any NumPy layout and dtype, a block at a time.

A block of an array that is strided, broadcast, byte-swapped, unaligned or of another dtype is
packed into a small contiguous buffer; one that is contiguous and of the working dtype already is
read in place.

Operands are walked by code of this file rather than by ``NpyIter``: it keeps no state between
blocks, so that any thread can pack any leaf of any output at any time, without a copy of an
iterator per thread and without the GIL, and its conversions are vectorised with the instruction
set of the module. Where C order has short inner loops, or runs across the order in memory (a
Fortran-ordered array), ``transfer`` exchanges the two loops inside a block; packing two such arrays
with ``NpyIter`` alone takes about as long as the whole reduction here (``Walk`` in
``asv_bench/benchmarks/layouts.py``).
"""

from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t,
)
from libc.stdlib cimport llabs
from libc.string cimport memcpy

cimport numpy as cnp

from sizes cimport MAX_DIMS
from smoothl1._smoothl1 cimport floating


cdef extern from "half.h":
    float smoothl1_float_of_half(uint16_t h) noexcept nogil
    uint16_t smoothl1_half_of_float(float f) noexcept nogil
    uint16_t smoothl1_half_of_double(double d) noexcept nogil
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
    bint native           # aligned, of this machine's byte order
    bint typed            # native, of the working dtype
    bint plain            # native, contiguous
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
    SPLAT = 16           # items of a vector
    SMALL_ROW = 256      # bytes of a row up to which several are copied at once


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
    op.native = not op.swap and cnp.PyArray_ISALIGNED(a)
    op.plain = op.native and op.ndim == 1 and op.stride[0] == op.itemsize
    op.typed = op.native and op.kind == c"f" and op.itemsize == (4 if single else 8)
    op.direct = op.typed and op.plain
    op.shrink = 1.0
    return 0


cdef inline void set_shrink(Operand* op, double shrink) noexcept nogil:
    """Have what is loaded multiplied; it is never read in place then."""
    op.shrink = shrink
    op.typed = op.plain = op.direct = False


cdef inline bint is_crossed(const Operand* op) noexcept nogil:
    """Whether a row is nearer to the next row than its elements are to each other."""
    cdef Py_ssize_t down
    if op.ndim < 2:
        return False
    down = llabs(op.stride[op.ndim - 2])
    return 0 < down < llabs(op.stride[op.ndim - 1])


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
    elif to_stride == size and stride == -size:
        for i in range(n):
            memcpy(
                a + i * <Py_ssize_t>sizeof(item), b - i * <Py_ssize_t>sizeof(item), sizeof(item)
            )
    elif to_stride == size and stride == 0:
        memcpy(&repeated, b, sizeof(item))
        for i in range(n):
            memcpy(a + i * <Py_ssize_t>sizeof(item), &repeated, sizeof(item))
    else:
        for i in range(n):
            memcpy(a + i * to_stride, b + i * stride, sizeof(item))


cdef inline item item_at(const char* a, item tag) noexcept nogil:
    cdef item found
    memcpy(&found, a, sizeof(item))
    return found


cdef inline void repeat_items(
    item* to, const char* src, Py_ssize_t down, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """Each item ``columns`` times; known to the compiler, a few are moved as vectors."""
    cdef Py_ssize_t i = 0, j
    cdef item one
    if columns == 2:
        for i in range(rows):
            to[2 * i] = to[2 * i + 1] = item_at(src + i * down, to[0])
        return
    if columns == 3:
        for i in range(rows):
            to[3 * i] = to[3 * i + 1] = to[3 * i + 2] = item_at(src + i * down, to[0])
        return
    if columns == 4:
        for i in range(rows):
            one = item_at(src + i * down, to[0])
            to[4 * i] = to[4 * i + 1] = to[4 * i + 2] = to[4 * i + 3] = one
        return
    # A whole vector for each of a few, whose end the next row writes over.
    while columns < SPLAT and (rows - i) * columns >= SPLAT:
        one = item_at(src + i * down, to[0])
        for j in range(SPLAT):
            to[i * columns + j] = one
        i += 1
    while i < rows:
        one = item_at(src + i * down, to[0])
        for j in range(columns):
            to[i * columns + j] = one
        i += 1


cdef inline void repeat_any(
    char* to, const char* src, Py_ssize_t down, Py_ssize_t rows, Py_ssize_t columns, int itemsize
) noexcept nogil:
    if itemsize == 4:
        repeat_items(<uint32_t*>to, src, down, rows, columns)
    elif itemsize == 8:
        repeat_items(<uint64_t*>to, src, down, rows, columns)
    elif itemsize == 2:
        repeat_items(<uint16_t*>to, src, down, rows, columns)
    else:
        repeat_items(<uint8_t*>to, src, down, rows, columns)


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


cdef inline void interleave_items(
    item* to, Py_ssize_t width, const char* src, Py_ssize_t across, Py_ssize_t rows,
    Py_ssize_t columns,
) noexcept nogil:
    """Contiguous columns to rows that are ``width`` items apart; a few at a time, as vectors."""
    cdef Py_ssize_t i, j = 0, at
    cdef item a, b, c, d
    if columns == 2 and width == 2:
        for i in range(rows):
            at = i * <Py_ssize_t>sizeof(item)
            a = item_at(src + at, to[0])
            b = item_at(src + across + at, to[0])
            to[2 * i] = a
            to[2 * i + 1] = b
        return
    if columns == 3 and width == 3:
        for i in range(rows):
            at = i * <Py_ssize_t>sizeof(item)
            a = item_at(src + at, to[0])
            b = item_at(src + across + at, to[0])
            c = item_at(src + 2 * across + at, to[0])
            to[3 * i] = a
            to[3 * i + 1] = b
            to[3 * i + 2] = c
        return
    while j <= columns - 4:
        for i in range(rows):
            at = i * <Py_ssize_t>sizeof(item)
            a = item_at(src + j * across + at, to[0])
            b = item_at(src + (j + 1) * across + at, to[0])
            c = item_at(src + (j + 2) * across + at, to[0])
            d = item_at(src + (j + 3) * across + at, to[0])
            to[i * width + j] = a
            to[i * width + j + 1] = b
            to[i * width + j + 2] = c
            to[i * width + j + 3] = d
        j += 4
    while j < columns:
        for i in range(rows):
            to[i * width + j] = item_at(
                src + j * across + i * <Py_ssize_t>sizeof(item), to[0]
            )
        j += 1


cdef inline void copy_rows(
    char* to, const char* src, Py_ssize_t down, Py_ssize_t rows, Py_ssize_t size
) noexcept nogil:
    """Copy rows of 8 bytes or more each; the last of a row's moves may overlap the one before."""
    cdef Py_ssize_t _, k
    if size < 16:
        for _ in range(rows):
            memcpy(to, src, 8)
            memcpy(to + size - 8, src + size - 8, 8)
            to += size
            src += down
        return
    for _ in range(rows):
        k = 0
        while k < size - 16:
            memcpy(to + k, src + k, 16)
            k += 16
        memcpy(to + size - 16, src + size - 16, 16)
        to += size
        src += down


cdef inline void move_columns(
    char* data, Py_ssize_t down, Py_ssize_t across, char* buffer, Py_ssize_t width,
    Py_ssize_t rows, Py_ssize_t columns, int size, bint gather,
) noexcept nogil:
    """Move columns to or from rows that are ``width`` items apart in the buffer."""
    cdef Py_ssize_t i
    if not gather or down != size:
        for i in range(columns):
            move(
                data + i * across, down, buffer + i * size, width * size, rows, size, gather
            )
    elif size == 4:
        interleave_items(<uint32_t*>buffer, width, data, across, rows, columns)
    elif size == 8:
        interleave_items(<uint64_t*>buffer, width, data, across, rows, columns)
    elif size == 2:
        interleave_items(<uint16_t*>buffer, width, data, across, rows, columns)
    else:
        interleave_items(<uint8_t*>buffer, width, data, across, rows, columns)


cdef inline void move_down(
    char* data, Py_ssize_t down, Py_ssize_t across, Py_ssize_t column, Py_ssize_t columns,
    char* buffer, Py_ssize_t n, int size, bint gather,
) noexcept nogil:
    """Move n elements of rows of ``columns``, from a column on, down the columns."""
    # Columns further left begin a row later; some of them have an element more than others.
    cdef Py_ssize_t rows = n // columns, more = n % columns, turn = columns - column
    cdef Py_ssize_t first = 0, stop = 0, last = columns if rows > 0 else n
    while first < last:
        stop = last
        if first < more < stop:
            stop = more
        if first < turn < stop:
            stop = turn
        move_columns(
            data + first * across + (down - columns * across if first >= turn else 0), down,
            across, buffer + first * size, columns, rows + (first < more), stop - first, size,
            gather,
        )
        first = stop


cdef inline void repeat_row(
    char* data, Py_ssize_t across, Py_ssize_t column, Py_ssize_t columns, char* buffer,
    Py_ssize_t n, int size,
) noexcept nogil:
    """Copy one row again and again, from a column on; n is more than a row."""
    cdef Py_ssize_t done = columns * size, part, all = n * size
    copy_strided(buffer, size, data, across, columns - column, size)
    copy_strided(
        buffer + (columns - column) * size, size, data - column * across, across, column, size
    )
    while done < all:
        part = done if done < all - done else all - done
        memcpy(buffer + done, buffer, part)
        done += part


cdef inline void transfer(
    const Operand* op, char* data, Py_ssize_t start, Py_ssize_t n, char* buffer, bint gather
) noexcept nogil:
    """Copy elements start .. start + n (C order) of an operand to a buffer, or back."""
    cdef Py_ssize_t index[MAX_DIMS]
    cdef int axis, last = op.ndim - 1
    cdef Py_ssize_t columns = op.shape[last], across = op.stride[last], down, column, run, rows
    cdef Py_ssize_t left = n
    cdef int size = op.itemsize
    cdef bint crossed = is_crossed(op)
    if last == 0:
        move(data + start * across, across, buffer, size, n, size, gather)
        return
    down = op.stride[last - 1]
    for axis in range(last, -1, -1):
        index[axis] = start % op.shape[axis]
        start = start // op.shape[axis]
        data += index[axis] * op.stride[axis]
    while left > 0:
        # Of the two innermost axes: some rows, or a part of one.
        column = index[last]
        run = (op.shape[last - 1] - index[last - 1]) * columns - column
        if run > left:
            run = left
        if run <= columns or gather and column > 0 and not (crossed or down == 0):
            if run > columns - column:
                run = columns - column
            move(data, across, buffer, size, run, size, gather)
        elif gather and across == 0:
            run -= run % columns
            repeat_any(buffer, data, down, run // columns, columns, size)
        elif gather and down == 0:
            repeat_row(data, across, column, columns, buffer, run, size)
        elif gather and across == size and column == 0 and 8 <= columns * size <= SMALL_ROW:
            run -= run % columns
            copy_rows(buffer, data, down, run // columns, columns * size)
        elif crossed or run > columns * columns:  # the inner loop runs down the rows
            move_down(data, down, across, column, columns, buffer, run, size, gather)
        else:
            run = columns - column
            move(data, across, buffer, size, run, size, gather)
        buffer += run * size
        left -= run
        rows = (column + run) // columns
        index[last] = column + run - rows * columns
        index[last - 1] += rows
        data += rows * down + (index[last] - column) * across
        # Carry into the axes further out.
        for axis in range(last - 1, 0, -1):
            if index[axis] < op.shape[axis]:
                break
            data += op.stride[axis - 1] - op.shape[axis] * op.stride[axis]
            index[axis] = 0
            index[axis - 1] += 1


cdef inline item swapped(item v) noexcept nogil:
    """The bytes of an item in reverse order."""
    cdef uint64_t pairs = 0x0000ffff0000ffff, singles = 0x00ff00ff00ff00ff
    if item is uint16_t:
        return <uint16_t>((v << 8) | (v >> 8))
    elif item is uint32_t:
        return (v << 24) | ((v & 0xff00) << 8) | ((v >> 8) & 0xff00) | (v >> 24)
    elif item is uint64_t:
        v = (v << 32) | (v >> 32)
        v = ((v & pairs) << 16) | ((v >> 16) & pairs)
        return ((v & singles) << 8) | ((v >> 8) & singles)
    else:
        return v


cdef inline void swap_items(item* a, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        a[i] = swapped(a[i])


cdef inline void copy_swapped_items(item* to, const char* src, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        to[i] = swapped(item_at(src + i * <Py_ssize_t>sizeof(item), to[0]))


cdef inline void swap_bytes(char* buffer, Py_ssize_t n, int itemsize) noexcept nogil:
    """Reverse the bytes of each of n items, which are aligned."""
    if itemsize == 2:
        swap_items(<uint16_t*>buffer, n)
    elif itemsize == 4:
        swap_items(<uint32_t*>buffer, n)
    elif itemsize == 8:
        swap_items(<uint64_t*>buffer, n)


cdef inline void copy_swapped(
    char* to, const char* src, Py_ssize_t stride, Py_ssize_t n, int itemsize
) noexcept nogil:
    """Copy items, each with its bytes in reverse order."""
    if stride != itemsize:
        copy_strided(to, itemsize, src, stride, n, itemsize)
        swap_bytes(to, n, itemsize)
    elif itemsize == 2:
        copy_swapped_items(<uint16_t*>to, src, n)
    elif itemsize == 4:
        copy_swapped_items(<uint32_t*>to, src, n)
    else:
        copy_swapped_items(<uint64_t*>to, src, n)


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


cdef inline bint is_same(const Operand* op, floating tag) noexcept nogil:
    """Whether its items are of the working dtype, but for their bytes' order."""
    return op.kind == c"f" and op.itemsize == <int>sizeof(floating)


cdef inline const floating* finish_load(
    const Operand* op, const char* found, Py_ssize_t n, floating* buffer
) noexcept nogil:
    """From items in this machine's byte order; of the working dtype, they are in the buffer."""
    cdef floating shrink = <floating>op.shrink
    cdef Py_ssize_t i
    if not is_same(op, shrink):
        convert_any(op.kind, op.itemsize, found, n, buffer)
    if op.shrink != 1.0:
        for i in range(n):
            buffer[i] = buffer[i] * shrink
    return buffer


cdef inline const floating* load_run(
    const Operand* op, const char* data, Py_ssize_t stride, Py_ssize_t n, char* raw,
    floating* buffer,
) noexcept nogil:
    """Elements ``stride`` bytes apart in the working dtype: in place if possible, else packed."""
    cdef bint same = is_same(op, <floating>0), dense = stride == op.itemsize
    cdef char* target = <char*>buffer if same else raw
    if dense and op.typed:
        return <const floating*>data
    if op.swap:
        copy_swapped(target, data, stride, n, op.itemsize)
    elif dense and op.native and not same:
        return finish_load(op, data, n, buffer)
    else:
        copy_strided(target, op.itemsize, data, stride, n, op.itemsize)
    return finish_load(op, <const char*>target, n, buffer)


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


cdef inline const floating* load(
    const Operand* op, Py_ssize_t output, Py_ssize_t start, Py_ssize_t n,
    char* raw, floating* buffer,
) noexcept nogil:
    """A block of an operand in the working dtype: in place if possible, else packed."""
    cdef char* data = op.data + kept_offset(op, output)
    cdef char* target = <char*>buffer if is_same(op, <floating>0) else raw
    cdef const char* run
    if op.direct:
        return in_place(op, output, start, <floating>0)
    run = run_of(op, data, start, n)
    if run is not NULL:
        return load_run(op, run, op.stride[op.ndim - 1], n, raw, buffer)
    transfer(op, data, start, n, target, True)
    if op.swap:
        swap_bytes(target, n, op.itemsize)
    return finish_load(op, <const char*>target, n, buffer)


cdef inline const floating* load_row(
    const Operand* op, Py_ssize_t row, Py_ssize_t columns, Py_ssize_t first, Py_ssize_t n,
    char* raw, floating* buffer,
) noexcept nogil:
    """n elements of a row of ``columns``, as the only output: without a division, mostly."""
    if is_matrix(op, columns):
        return load_run(
            op, op.data + row * op.stride[0] + first * op.stride[1], op.stride[1], n, raw, buffer
        )
    return load(op, 0, row * columns + first, n, raw, buffer)


cdef inline bint is_matrix(const Operand* op, Py_ssize_t columns) noexcept nogil:
    """Whether it is plain to see where its rows of ``columns`` begin."""
    return op.ndim == 2 and op.shape[1] == columns


cdef inline const floating* load_rows(
    const Operand* op, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t first,
    Py_ssize_t n, const floating* before, char* raw, floating* buffer,
) noexcept nogil:
    """The same of several rows, packed; ``before``: of at least as many others, or NULL."""
    cdef char* target = <char*>buffer if is_same(op, <floating>0) else raw
    cdef Py_ssize_t i
    cdef floating* place
    cdef const floating* found
    if before is not NULL and is_matrix(op, columns) and op.stride[0] == 0:
        return before
    if n == columns:
        return load(op, 0, row * columns, rows * columns, raw, buffer)
    if rows == 1:
        return load_row(op, row, columns, first, n, raw, buffer)
    if is_matrix(op, columns) and is_crossed(op):
        move_columns(
            op.data + row * op.stride[0] + first * op.stride[1], op.stride[0], op.stride[1],
            target, n, rows, n, op.itemsize, True,
        )
        if op.swap:
            swap_bytes(target, rows * n, op.itemsize)
        return finish_load(op, <const char*>target, rows * n, buffer)
    for i in range(rows):
        place = buffer + i * n
        found = load_row(op, row + i, columns, first, n, raw, place)
        if found is not place:
            memcpy(place, found, n * sizeof(floating))
    return buffer


cdef inline const uint8_t* load_mask_rows(
    const Operand* op, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t first,
    Py_ssize_t n, char* buffer,
) noexcept nogil:
    """The same of a boolean operand."""
    cdef Py_ssize_t i
    cdef char* data
    if n == columns:
        return load_mask(op, 0, row * columns, rows * columns, buffer)
    if rows == 1 and not is_matrix(op, columns):
        return load_mask(op, 0, row * columns + first, n, buffer)
    if not is_matrix(op, columns):
        for i in range(rows):
            transfer(op, op.data, (row + i) * columns + first, n, buffer + i * n, True)
        return <const uint8_t*>buffer
    data = op.data + row * op.stride[0] + first * op.stride[1]
    if rows == 1 and op.stride[1] == 1:
        return <const uint8_t*>data
    if is_crossed(op):
        move_columns(data, op.stride[0], op.stride[1], buffer, n, rows, n, 1, True)
    else:
        for i in range(rows):
            copy_strided(buffer + i * n, 1, data + i * op.stride[0], op.stride[1], n, 1)
    return <const uint8_t*>buffer


cdef inline const uint8_t* load_mask(
    const Operand* op, Py_ssize_t output, Py_ssize_t start, Py_ssize_t n, char* buffer
) noexcept nogil:
    """A block of a boolean operand: in place if contiguous, else packed."""
    cdef char* data = op.data + kept_offset(op, output)
    cdef const char* run = run_of(op, data, start, n)
    if run is not NULL and op.stride[op.ndim - 1] == 1:
        return <const uint8_t*>run
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
        return smoothl1_half_of_double(a)


cdef inline void convert_back(
    const floating* a, Py_ssize_t n, char kind, int itemsize, char* results
) noexcept nogil:
    """Numbers to a floating-point dtype, each rounded once."""
    cdef Py_ssize_t i
    if itemsize == 2:
        if kind == c"V":
            for i in range(n):
                (<uint16_t*>results)[i] = two_bytes(a[i], c"V")
        else:
            for i in range(n):
                (<uint16_t*>results)[i] = two_bytes(a[i], c"f")
    elif itemsize == 4:
        convert(a, n, <float*>results)
    else:
        convert(a, n, <double*>results)


cdef inline void store(
    const Operand* op, Py_ssize_t start, Py_ssize_t n, char* raw, floating* buffer
) noexcept nogil:
    """Write a block of results to ``out``, converted to its dtype."""
    cdef char* result = raw
    if op.itemsize == <int>sizeof(floating):
        result = <char*>buffer
    else:
        convert_back(<const floating*>buffer, n, op.kind, op.itemsize, raw)
    if op.swap:
        swap_bytes(result, n, op.itemsize)
    transfer(op, op.data, start, n, result, False)
