"""The bytes of a state of groups: where in them is what (``smoothl1/_sums/states.py``).

Bytes may be anybody's: nothing outside of them is read, nothing outside of the table written.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cimport numpy as cnp

from bygroup cimport Window
from digits cimport write_bytes
from exact_arrays cimport check_table
from plain cimport PyArray_ISCARRAY_RO


cdef inline bint read_natural(
    const uint8_t* data, Py_ssize_t* at, Py_ssize_t stop, uint64_t* value
) noexcept nogil:
    """Read seven bits a byte, the lowest first; returns whether they ended, within 64 bits."""
    cdef int shift = 0
    cdef uint64_t part
    value[0] = 0
    while at[0] < stop and shift < 64:
        part = data[at[0]] & 0x7F
        if shift == 63 and part > 1:
            return False
        value[0] |= part << shift
        at[0] += 1
        if data[at[0] - 1] < 0x80:
            return True
        shift += 7
    return False


cdef inline int64_t signed_of(uint64_t code) noexcept nogil:
    return <int64_t>(code >> 1) ^ -<int64_t>(code & 1)


cdef inline Py_ssize_t least_size(Py_ssize_t sums) noexcept nogil:
    """Bytes of a group of so many sums, at least."""
    return 2 + sums


cdef inline Py_ssize_t entries_of(Py_ssize_t sums) noexcept nogil:
    """Numbers that say where a group is: three of itself, and three of each sum."""
    return 3 + 3 * sums


cdef inline bint read_group(
    const uint8_t* data, Py_ssize_t* at, Py_ssize_t stop, Py_ssize_t group, Py_ssize_t sums,
    int64_t most, int64_t* place, dict counts,
) except -1:
    """Where a group is; False if the bytes are none. See ``read_groups`` for what is noted."""
    cdef uint64_t size, below, code
    cdef uint64_t counted[3]
    cdef Py_ssize_t sum, i
    if not read_natural(data, at, stop, &size) or size > <uint64_t>(stop - at[0]):
        return False
    place[0] = at[0]
    place[1] = <int64_t>size
    at[0] += <Py_ssize_t>size
    if not read_natural(data, at, stop, &code):
        return False
    place[2] = signed_of(code)
    for sum in range(sums):
        place += 3
        below = 0
        if not read_natural(data, at, stop, &code):
            return False
        size = code >> 1
        if size > 0 and not read_natural(data, at, stop, &below):
            return False
        if size > <uint64_t>(stop - at[0]) or below > <uint64_t>most:
            return False
        place[0] = at[0]
        place[1] = <int64_t>size
        place[2] = <int64_t>below
        at[0] += <Py_ssize_t>size
        if code & 1:
            for i in range(3):
                if not read_natural(data, at, stop, &counted[i]):
                    return False
            counts[group, sum] = [signed_of(counted[i]) for i in range(3)]
    return True


cdef inline tuple places_of_groups(
    cnp.ndarray data, Py_ssize_t at, Py_ssize_t stop, Py_ssize_t groups, Py_ssize_t sums,
    int64_t most,
):
    """Where all groups are; None if the bytes are none. See ``read_groups``."""
    cdef cnp.npy_intp[2] shape = [groups, entries_of(sums)]
    cdef cnp.ndarray places
    cdef Py_ssize_t group
    if (
        cnp.PyArray_TYPE(data) != cnp.NPY_UINT8 or not PyArray_ISCARRAY_RO(data)
        or not 0 <= at <= stop <= cnp.PyArray_SIZE(data) or sums < 1
    ):
        raise ValueError("data must be contiguous, of uint8, and at and stop within them")
    if not 0 <= groups <= (stop - at) // least_size(sums):
        return None
    places = cnp.PyArray_EMPTY(2, shape, cnp.NPY_INT64, 0)
    counts = {}
    for group in range(groups):
        if not read_group(
            <const uint8_t*>cnp.PyArray_DATA(data), &at, stop, group, sums, most,
            <int64_t*>cnp.PyArray_DATA(places) + group * shape[1], counts,
        ):
            return None
    return places, counts, at


cdef inline int digits_of_groups(
    cnp.ndarray data, cnp.ndarray places, cnp.ndarray codes, cnp.ndarray table,
    cnp.ndarray windows,
) except -1:
    """Write the sums of groups to the rows of their codes, in a table of zeros."""
    cdef Py_ssize_t sums = cnp.PyArray_SIZE(windows) // 4, groups, width, rows, size, group, sum
    cdef const uint8_t* bytes_ = <const uint8_t*>cnp.PyArray_DATA(data)
    cdef const int32_t* code = <const int32_t*>cnp.PyArray_DATA(codes)
    cdef const int64_t* place
    cdef const Window* window
    cdef int64_t* digits
    cdef int64_t offset
    cdef bint fits = True
    check_table(table, windows, sums)
    rows = cnp.PyArray_DIM(table, 0)
    width = cnp.PyArray_DIM(table, 1)
    size = cnp.PyArray_SIZE(data)
    groups = cnp.PyArray_SIZE(codes)
    if (
        cnp.PyArray_TYPE(data) != cnp.NPY_UINT8 or not PyArray_ISCARRAY_RO(data)
        or cnp.PyArray_TYPE(places) != cnp.NPY_INT64 or not PyArray_ISCARRAY_RO(places)
        or cnp.PyArray_SIZE(places) != groups * (3 + 3 * sums)
        or cnp.PyArray_TYPE(codes) != cnp.NPY_INT32 or not PyArray_ISCARRAY_RO(codes)
    ):
        raise ValueError("data, places and codes must be contiguous, of uint8, int64 and int32")
    window = <const Window*>cnp.PyArray_DATA(windows)
    with nogil:
        for group in range(groups):
            place = <const int64_t*>cnp.PyArray_DATA(places) + group * (3 + 3 * sums)
            if code[group] < 0 or code[group] >= rows:
                fits = False
                break
            digits = <int64_t*>cnp.PyArray_DATA(table) + code[group] * width
            digits[0] = place[2]
            for sum in range(sums):
                place += 3
                if place[1] == 0:
                    continue
                offset = place[2] - 4 * window[sum].first
                if (
                    place[0] < 0 or place[1] < 0 or place[0] > size - place[1]
                    or offset < 0 or offset + place[1] > 4 * window[sum].digits + 4
                ):
                    fits = False
                    break
                write_bytes(
                    bytes_ + place[0], place[1], offset, digits + window[sum].column,
                    window[sum].digits,
                )
    if not fits:
        raise ValueError("places and codes must be within the data, the windows and the table")
    return 0
