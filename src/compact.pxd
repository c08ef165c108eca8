"""Compact rows: sums by group in words of 64 bits, which take half of the memory of a table.

A row has the number of elements of a group in its first column. A sum is an integer of two's
complement, of one word to three, the lowest first: carries do not wait. So there is no room for
many magnitudes, nor for what is no number: ordinary data have use for neither, and others go to a
table. A sum of 0 and 1 is a word, that of weights of 1 the number of elements itself.

A window (``bygroup.pxd``) says where a sum is: its column, the digit of 32 bits that it begins
with, and how many of these it has, two a word; 1 for a count.
"""

from libc.stdint cimport int64_t, uint64_t

from bygroup cimport Window
from digits cimport BASE_DOUBLE, BASE_SINGLE, bits_of_double, bits_of_float
from smoothl1._smoothl1 cimport floating


cdef enum:
    # Elements whose rows a first-level cache holds.
    PIECE = 128
    # Words of a sum, at most.
    MOST_WORDS = 3


cdef struct Finite:
    # A term: mantissa * 2**position, counted from the last bit of a sum; of a sign that is 0 or
    # -1: (a ^ sign) - sign is a or -a.
    uint64_t mantissa
    uint64_t position
    uint64_t sign


cdef inline Finite apart(floating term) noexcept nogil:
    cdef Finite found
    cdef uint64_t bits, exponent
    if floating is float:
        bits = <uint64_t>bits_of_float(term) & 0xFFFFFFFFU
        exponent = (bits >> 23) & 0xFF
        found.mantissa = (bits & 0x7FFFFF) | <uint64_t>(exponent > 0) << 23
        found.position = exponent + (exponent == 0) + (BASE_SINGLE - 150)
        found.sign = 0 - (bits >> 31)
    else:
        bits = bits_of_double(term)
        exponent = (bits >> 52) & 0x7FF
        found.mantissa = (bits & 0xFFFFFFFFFFFFFULL) | <uint64_t>(exponent > 0) << 52
        found.position = exponent + (exponent == 0) + (BASE_DOUBLE - 1075)
        found.sign = 0 - (bits >> 63)
    return found


cdef inline uint64_t shifted(uint64_t a, uint64_t left) noexcept nogil:
    """a * 2**left as far as it is within a word; left may be negative.

    Masks, not conditions: GCC makes vectors of them.
    """
    cdef uint64_t right = 0 - left
    return (
        ((a << (left & 63)) & (0 - <uint64_t>(left < 64)))
        | ((a >> (right & 63)) & (0 - <uint64_t>(right < 64)))
    )


cdef inline void write_words(
    const floating* terms, Py_ssize_t n, int64_t first, uint64_t* words
) noexcept nogil:
    """Write at most PIECE finite terms as words, of each of MOST_WORDS PIECE."""
    cdef uint64_t last = <uint64_t>(32 * first), left, low, middle, high, over
    cdef Finite a
    cdef Py_ssize_t i
    for i in range(n):
        a = apart(terms[i])
        left = a.position - last
        low = (shifted(a.mantissa, left) ^ a.sign) - a.sign
        over = a.sign & (0 - <uint64_t>(low == 0))
        middle = (shifted(a.mantissa, left - 64) ^ a.sign) - over
        over &= 0 - <uint64_t>(middle == 0)
        high = (shifted(a.mantissa, left - 128) ^ a.sign) - over
        words[i] = low
        words[PIECE + i] = middle
        words[2 * PIECE + i] = high


cdef inline void add_words(
    const uint64_t* words, Py_ssize_t n, int64_t column, int count, int64_t** rows
) noexcept nogil:
    """Add ``count`` words of each term to those of its row from a column on."""
    cdef uint64_t* to
    cdef uint64_t a, over
    cdef Py_ssize_t i
    for i in range(n):
        to = <uint64_t*>(rows[i] + column)
        a = to[0] + words[i]
        over = a < words[i]
        to[0] = a
        if count > 1:
            a = to[1] + words[PIECE + i]
            to[1] = a + over
            over = (a < words[PIECE + i]) | (to[1] < over)
        if count > 2:
            to[2] += words[2 * PIECE + i] + over


cdef inline void compact_sum(
    const floating* terms, Py_ssize_t n, const Window* window, int64_t** rows, int64_t* buffer
) noexcept nogil:
    """Add at most PIECE terms, each to the sum of its row.

    ``buffer``: for MOST_WORDS times as many words.
    """
    cdef uint64_t* words = <uint64_t*>buffer
    write_words(terms, n, window.first, words)
    if window.digits == 2:
        add_words(words, n, window.column, 1, rows)
    elif window.digits == 4:
        add_words(words, n, window.column, 2, rows)
    else:
        add_words(words, n, window.column, 3, rows)


cdef inline int64_t unpacked_windows(
    const Window* places, Py_ssize_t sums, Window* windows
) noexcept nogil:
    """Windows of a table for the sums of compact rows; returns the columns they take."""
    cdef int64_t column = 1
    cdef Py_ssize_t sum
    for sum in range(sums):
        windows[sum] = places[sum]
        windows[sum].column = column
        column += windows[sum].digits
    return column


cdef inline void unpack_row(
    const int64_t* compact, const Window* places, const Window* windows, Py_ssize_t sums,
    int64_t* row,
) noexcept nogil:
    """Write a compact row as one of a table, whose digits are all carried."""
    cdef const int64_t* word
    cdef int64_t* digits
    cdef int64_t i
    cdef Py_ssize_t sum
    row[0] = compact[0]
    for sum in range(sums):
        word = compact + places[sum].column
        digits = row + windows[sum].column
        if places[sum].digits == 1:
            digits[0] = word[0]
            continue
        for i in range(places[sum].digits // 2):
            digits[2 * i] = word[i] & 0xFFFFFFFFU
            digits[2 * i + 1] = word[i] >> 32 & 0xFFFFFFFFU
        digits[places[sum].digits - 1] = word[places[sum].digits // 2 - 1] >> 32
