"""Integer keys and their codes as arrays, for ``coding.pxd``: checks, memory, and threads.

``policy`` decides on threads: see ``calls.pxd``. A key outside of the table is an error, after
which the table is as it was.
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free

cimport numpy as cnp

from calls cimport team_of_elements
from coding cimport (
    LARGE_TABLE, Coding, Range, Word, code_keys, coding_tasks, range_of, rank_keys, words_of,
)
from plain cimport PyArray_ISCARRAY, PyArray_ISCARRAY_RO
from team cimport allocate


cdef inline int32_t codes_of_keys(
    cnp.ndarray keys, int64_t least, cnp.ndarray lookup, cnp.ndarray codes, int32_t following,
    int n_threads, object policy,
) except -1:
    """Write the codes of keys; returns the one that follows: see ``exact_codes``."""
    cdef Coding coding
    cdef int threads
    if (
        cnp.PyArray_TYPE(keys) != cnp.NPY_INT64 or not PyArray_ISCARRAY_RO(keys)
        or cnp.PyArray_TYPE(codes) != cnp.NPY_INT32 or not PyArray_ISCARRAY(codes)
        or cnp.PyArray_TYPE(lookup) != cnp.NPY_INT32 or not PyArray_ISCARRAY(lookup)
        or cnp.PyArray_SIZE(codes) != cnp.PyArray_SIZE(keys)
    ):
        raise ValueError("keys, codes and lookup must be contiguous, of int64, int32 and int32")
    coding.size = cnp.PyArray_SIZE(lookup)
    coding.keys = <const int64_t*>cnp.PyArray_DATA(keys)
    coding.n = cnp.PyArray_SIZE(keys)
    coding.least = least
    coding.table = <int32_t*>cnp.PyArray_DATA(lookup)
    coding.codes = <int32_t*>cnp.PyArray_DATA(codes)
    threads = team_of_elements(coding.n, n_threads, policy)
    if following == 0 and coding.size > LARGE_TABLE:
        coding.words = <Word*>calloc((threads + 1) * words_of(coding.size), sizeof(Word))
        if coding.words is NULL:
            raise MemoryError(f"no memory for the codes of {coding.size} keys")
        with nogil:
            following = rank_keys(&coding, threads)
        free(coding.words)
    else:
        with nogil:
            following = code_keys(&coding, following, threads)
    if following < 0:
        raise ValueError(f"keys must be within {least} and {least + coding.size}")
    return following


cdef inline Range range_of_keys(cnp.ndarray keys, int n_threads, object policy) except *:
    """The least and the largest of some keys."""
    cdef Coding coding
    cdef Range found
    cdef int threads
    coding.keys = <const int64_t*>cnp.PyArray_DATA(keys)
    coding.n = cnp.PyArray_SIZE(keys)
    if (
        cnp.PyArray_TYPE(keys) != cnp.NPY_INT64 or not PyArray_ISCARRAY_RO(keys) or coding.n == 0
    ):
        raise ValueError("keys must be contiguous, of int64, one at least")
    threads = team_of_elements(coding.n, n_threads, policy)
    coding.ranges = <Range*>allocate(coding_tasks(coding.n) * sizeof(Range))
    with nogil:
        found = range_of(&coding, threads)
    free(coding.ranges)
    return found
