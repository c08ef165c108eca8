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
    write_all,
)
from plain cimport PyArray_ISCARRAY, PyArray_ISCARRAY_RO
from team cimport allocate


cdef inline int set_coding(
    Coding* coding, cnp.ndarray keys, int64_t least, cnp.ndarray lookup
) except -1:
    """Check and note keys, and the table of their codes."""
    if (
        cnp.PyArray_TYPE(keys) != cnp.NPY_INT64 or not PyArray_ISCARRAY_RO(keys)
        or cnp.PyArray_TYPE(lookup) != cnp.NPY_INT32 or not PyArray_ISCARRAY(lookup)
    ):
        raise ValueError("keys and lookup must be contiguous, of int64 and int32")
    coding.keys = <const int64_t*>cnp.PyArray_DATA(keys)
    coding.n = cnp.PyArray_SIZE(keys)
    coding.least = least
    coding.size = cnp.PyArray_SIZE(lookup)
    coding.table = <int32_t*>cnp.PyArray_DATA(lookup)
    coding.words = NULL
    return 0


cdef inline int set_coded(
    Coding* coding, cnp.ndarray keys, int64_t least, cnp.ndarray lookup, cnp.ndarray words
) except -1:
    """The same for keys that have codes."""
    set_coding(coding, keys, least, lookup)
    if words is not None:
        if (
            cnp.PyArray_TYPE(words) != cnp.NPY_INT64 or not PyArray_ISCARRAY(words)
            or cnp.PyArray_NBYTES(words) != words_of(coding.size) * <Py_ssize_t>sizeof(Word)
        ):
            raise ValueError("words must be those of exact_learn")
        coding.words = <Word*>cnp.PyArray_DATA(words)
    return 0


cdef inline object outside_of(const Coding* coding):
    return ValueError(f"keys must be within {coding.least} and {coding.least + coding.size}")


cdef inline tuple learn_keys(
    cnp.ndarray keys, int64_t least, cnp.ndarray lookup, int32_t following, int n_threads,
    object policy,
):
    """Give codes to keys; returns the one that follows, and words or None: see ``exact_learn``."""
    cdef Coding coding
    cdef int threads
    cdef cnp.npy_intp size
    cdef cnp.ndarray words = None
    set_coding(&coding, keys, least, lookup)
    threads = team_of_elements(coding.n, n_threads, policy)
    if following == 0 and coding.size > LARGE_TABLE:
        size = words_of(coding.size) * (sizeof(Word) // sizeof(int64_t))
        words = cnp.PyArray_ZEROS(1, &size, cnp.NPY_INT64, 0)
        coding.words = <Word*>cnp.PyArray_DATA(words)
        coding.each = <Word*>calloc(threads * words_of(coding.size), sizeof(Word))
        if coding.each is NULL:
            raise MemoryError(f"no memory for the codes of {coding.size} keys")
        with nogil:
            following = rank_keys(&coding, threads)
        free(coding.each)
    else:
        with nogil:
            following = code_keys(&coding, following, threads)
    if following < 0:
        raise outside_of(&coding)
    return following, words


cdef inline int write_codes_of(
    cnp.ndarray keys, int64_t least, cnp.ndarray lookup, cnp.ndarray words, cnp.ndarray codes,
    int n_threads, object policy,
) except -1:
    """Write the codes of keys that have some: see ``exact_write``."""
    cdef Coding coding
    cdef int threads
    cdef bint whole
    set_coded(&coding, keys, least, lookup, words)
    if (
        cnp.PyArray_TYPE(codes) != cnp.NPY_INT32 or not PyArray_ISCARRAY(codes)
        or cnp.PyArray_SIZE(codes) != coding.n
    ):
        raise ValueError("codes must be contiguous, of int32, one for each key")
    coding.codes = <int32_t*>cnp.PyArray_DATA(codes)
    threads = team_of_elements(coding.n, n_threads, policy)
    with nogil:
        whole = write_all(&coding, threads)
    if not whole:
        raise outside_of(&coding)
    return 0


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
