"""Copies of items that are apart in memory: strided, repeated, across rows, with bytes swapped.

For items of 1, 2, 4 or 8 bytes at any alignment, whatever they mean: nothing here knows of
operands or converts a dtype. The shapes that arrays mostly have (a column of two, a repeated
element, a few columns beside each other) are spelled out for the compiler to move vectors.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


ctypedef fused item:
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef enum:
    SPLAT = 16  # items of a vector


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
