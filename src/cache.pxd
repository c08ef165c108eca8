"""Hints to the caches (``cache.h``). They change no value."""

from sizes cimport LINE


cdef extern from "cache.h":
    void SMOOTHL1_PREFETCH(const void* address) noexcept nogil
    bint smoothl1_prefetches() noexcept nogil
    bint smoothl1_streams() noexcept nogil
    void smoothl1_stream(char* to, const char* source, size_t size) noexcept nogil
    void smoothl1_stream_end() noexcept nogil


cdef inline void prefetch(const char* data, Py_ssize_t size) noexcept nogil:
    """Ask for memory that is needed soon; an address beyond the end does no harm."""
    cdef Py_ssize_t i
    for i in range((size + LINE - 1) // LINE):
        SMOOTHL1_PREFETCH(data + i * LINE)


cdef inline char* aligned(char* space) noexcept nogil:
    """A vector that straddles two cache lines costs twice: buffers start at one.

    An offset, not a number made a pointer, which to GCC may point at the lanes of a sum, too.
    """
    return space + (-<size_t>space & <size_t>(LINE - 1))
