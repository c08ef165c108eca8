"""Packing: any NumPy layout and dtype, a block at a time.

A block of an array that is strided, broadcast, byte-swapped, unaligned or of another dtype is
packed into a small contiguous buffer; one that is contiguous and of the working dtype already is
read in place. Results are stored the other way.

Operands are walked by code of this file rather than by ``NpyIter``: it keeps no state between
blocks, so that any thread can pack any leaf of any output at any time, without a copy of an
iterator per thread and without the GIL, and its conversions are vectorised with the instruction
set of the module. Where C order has short inner loops, or runs across the order in memory (a
Fortran-ordered array), ``transfer`` exchanges the two loops inside a block; packing two such arrays
with ``NpyIter`` alone takes about as long as the whole reduction here (``Walk`` in
``asv_bench/benchmarks/layouts.py``).
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from casts cimport convert_any, convert_back
from copies cimport (
    copy_rows, copy_strided, copy_swapped, move, move_columns, move_down, repeat_any, repeat_row,
    swap_bytes,
)
from operands cimport Operand, in_place, is_crossed, is_matrix, is_same, kept_offset, run_of
from sizes cimport MAX_DIMS
from smoothl1._smoothl1 cimport floating


cdef enum:
    SMALL_ROW = 256  # bytes of a row up to which several are copied at once


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
