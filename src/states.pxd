"""The bytes of a state of groups: where in them is what (``smoothl1/_sums/states.py``)."""

from libc.stdint cimport int64_t, uint8_t, uint64_t


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
