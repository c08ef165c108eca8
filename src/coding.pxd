"""Codes of integer keys, which a table has for all integers between two."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from team cimport run_tasks


cdef extern from "coding.h":
    int32_t SMOOTHL1_SEEN(const int32_t* entry) noexcept nogil
    void SMOOTHL1_MARK(int32_t* entry, int32_t value) noexcept nogil
    int SMOOTHL1_BITS(uint64_t word) noexcept nogil


cdef enum:
    # Keys of a task.
    KEYS = 1 << 16
    # Entries of the table: of an integer that is no key, and of one that has no code yet.
    NO_KEY = -1
    FRESH = -2
    # Entries that are slower to look at than bits.
    LARGE_TABLE = 1 << 16


cdef struct Range:
    int64_t least
    int64_t most


cdef struct Word:
    uint64_t bits   # one for each of 64 integers that is a key
    int64_t before  # keys below these


cdef struct Coding:
    const int64_t* keys
    Py_ssize_t n
    Range* ranges      # of the keys of each task
    int64_t least      # the table's first key
    int64_t size
    int32_t* table
    int32_t* codes
    int32_t* outside   # whether there is a key that the table does not cover
    Word* words        # of the table, for keys that have no codes yet
    Word* each         # the same of each thread


cdef inline Py_ssize_t coding_tasks(Py_ssize_t n) noexcept nogil:
    return (n + KEYS - 1) // KEYS


cdef inline void find_range(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const Coding* coding = <const Coding*>context
    cdef const int64_t* keys = coding.keys
    cdef Py_ssize_t i
    cdef int64_t least = keys[task * KEYS], most = least
    for i in range(task * KEYS, min(coding.n, (task + 1) * KEYS)):
        least = keys[i] if keys[i] < least else least
        most = keys[i] if keys[i] > most else most
    coding.ranges[task].least = least
    coding.ranges[task].most = most


cdef inline Range range_of(Coding* coding, int threads) noexcept nogil:
    """The least and the largest of the keys, of which there are some."""
    cdef Range found
    cdef Py_ssize_t task, tasks = coding_tasks(coding.n)
    run_tasks(find_range, coding, tasks, threads, False)
    found = coding.ranges[0]
    for task in range(1, tasks):
        found.least = min(found.least, coding.ranges[task].least)
        found.most = max(found.most, coding.ranges[task].most)
    return found


cdef inline void mark_keys(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const Coding* coding = <const Coding*>context
    cdef Py_ssize_t i
    cdef int64_t key
    cdef int32_t* entry
    for i in range(task * KEYS, min(coding.n, (task + 1) * KEYS)):
        key = coding.keys[i]
        if key < coding.least or key - coding.least >= coding.size:
            SMOOTHL1_MARK(coding.outside, True)
            return
        entry = coding.table + (key - coding.least)
        if SMOOTHL1_SEEN(entry) == NO_KEY:
            SMOOTHL1_MARK(entry, FRESH)


cdef inline void write_codes(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const Coding* coding = <const Coding*>context
    cdef Py_ssize_t i
    cdef int64_t key
    for i in range(task * KEYS, min(coding.n, (task + 1) * KEYS)):
        key = coding.keys[i]
        if key < coding.least or key - coding.least >= coding.size:
            SMOOTHL1_MARK(coding.outside, True)
            return
        coding.codes[i] = coding.table[key - coding.least]


cdef inline int32_t code_keys(Coding* coding, int32_t following, int threads) noexcept nogil:
    """Give codes to keys that have none, from ``following`` on, in their order.

    Returns what follows the last code, or -1: the table does not cover all keys, and nothing
    changed.
    """
    cdef Py_ssize_t i
    cdef int32_t outside = False
    coding.outside = &outside
    run_tasks(mark_keys, coding, coding_tasks(coding.n), threads, False)
    for i in range(coding.size):
        if coding.table[i] == FRESH:
            coding.table[i] = NO_KEY if outside else following
            following += 1
    return -1 if outside else following


cdef inline void range_of_codes(
    const int32_t* codes, Py_ssize_t n, int32_t* least, int32_t* most
) noexcept nogil:
    """Widen a range to some codes."""
    cdef int32_t low = least[0], high = most[0]
    cdef Py_ssize_t i
    for i in range(n):
        low = codes[i] if codes[i] < low else low
        high = codes[i] if codes[i] > high else high
    least[0], most[0] = low, high


# The first keys of all: their codes are their ranks, found by bits, which a cache holds sooner than
# the table.

cdef inline Py_ssize_t words_of(int64_t size) noexcept nogil:
    return (size + 63) // 64


cdef inline void note_keys(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const Coding* coding = <const Coding*>context
    cdef Word* words = coding.each + thread * words_of(coding.size)
    cdef Py_ssize_t i
    cdef int64_t key
    for i in range(task * KEYS, min(coding.n, (task + 1) * KEYS)):
        key = coding.keys[i]
        if key < coding.least or key - coding.least >= coding.size:
            SMOOTHL1_MARK(coding.outside, True)
            return
        key -= coding.least
        words[key >> 6].bits |= <uint64_t>1 << (key & 63)


cdef inline void write_ranks(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const Coding* coding = <const Coding*>context
    cdef Py_ssize_t i
    cdef int64_t key
    cdef const Word* word
    for i in range(task * KEYS, min(coding.n, (task + 1) * KEYS)):
        key = coding.keys[i]
        if key < coding.least or key - coding.least >= coding.size:
            SMOOTHL1_MARK(coding.outside, True)
            return
        key -= coding.least
        word = coding.words + (key >> 6)
        coding.codes[i] = <int32_t>(
            word.before + SMOOTHL1_BITS(word.bits & ((<uint64_t>1 << (key & 63)) - 1))
        )


cdef inline int32_t rank_keys(Coding* coding, int threads) noexcept nogil:
    """``code_keys`` for a table that has no codes yet."""
    cdef Py_ssize_t count = words_of(coding.size), i
    cdef int32_t following = 0, outside = False
    cdef int thread, bit
    coding.outside = &outside
    run_tasks(note_keys, coding, coding_tasks(coding.n), threads, False)
    if outside:
        return -1
    for i in range(count):
        for thread in range(threads):
            coding.words[i].bits |= coding.each[thread * count + i].bits
        coding.words[i].before = following
        for bit in range(min(64, coding.size - 64 * i)):
            if coding.words[i].bits >> bit & 1:
                coding.table[64 * i + bit] = following
                following += 1
    return following


cdef inline bint write_piece(
    const Coding* whole, Py_ssize_t start, Py_ssize_t stop, int32_t* codes, int threads
) noexcept nogil:
    """Write the codes of some keys, which have some; returns whether the table covers them."""
    cdef Coding coding = whole[0]
    coding.keys += start
    coding.n = stop - start
    coding.codes = codes
    return write_all(&coding, threads)


cdef inline bint write_all(Coding* coding, int threads) noexcept nogil:
    """Write the codes of all keys; returns whether the table covers them."""
    cdef int32_t outside = False
    coding.outside = &outside
    if coding.words is NULL:
        run_tasks(write_codes, coding, coding_tasks(coding.n), threads, False)
    else:
        run_tasks(write_ranks, coding, coding_tasks(coding.n), threads, False)
    return not outside
