"""Certificates: how far a sum may be from the exact one, where only its rounding is wanted.

A loss is a sum divided and rounded once. Whatever its windows cannot hold of a block
(``blocks.pxd``) may be left out, as long as it is known how much that is at most: if all numbers
within that bound round to the same float, that float is the correctly rounded loss. Else the sum
is made once more, exactly. So no result depends on what was left out, whatever the data.

Sums that are kept, to be added to others, have no certificate: nothing of them is left out.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy


cdef struct Certificate:
    double bound  # the sum is off by no more than ``error_of`` makes of this
    double total  # of terms without a sign: about their sum, which decides the way of blocks


cdef inline double power_of_two(int64_t exponent) noexcept nogil:
    """2**exponent, for one between -1022 and 1023."""
    cdef int64_t bits = (exponent + 1023) << 52
    cdef double a
    memcpy(&a, &bits, sizeof(a))
    return a


cdef inline double dropped(Py_ssize_t n, int last, bint single) noexcept nogil:
    """What n additions drop at most that round to multiples of 2**last.

    Twice that, so there is room for rounding terms that are brought into the range of windows.
    """
    # All float32 are multiples of their smallest number.
    return 0.0 if single and last <= -149 else n * power_of_two(last)


cdef inline double error_of(const Certificate* certificate) noexcept nogil:
    """The bound of a sum: less than 2**40 numbers, each addition of which was rounded."""
    return 0.0 if certificate is NULL else certificate.bound * (1.0 + 2.0**-10)


cdef inline bint is_tight(
    const Certificate* certificate, double bound, double total, bint single
) noexcept nogil:
    """Whether a block's bound leaves little doubt about the sum of it and of the blocks before."""
    return certificate.bound + bound <= power_of_two(-34 if single else -72) * (
        certificate.total + total
    )
