"""Plain arrays, which most calls pass: set up without a look at axes, and results made objects.

Plain is contiguous, aligned, native, of the working dtype, and of one shape; the threshold is a
number. Whatever is not is left to ``Work``.
"""

cimport numpy as cnp

from cache cimport smoothl1_streams
from jobs cimport Job, MEAN, Reduction, TOTAL, clear_options, divisor_of
from operands cimport set_flat
from sizes cimport STREAM
from terms cimport ARRAY, Params, finish, make_params
from tree cimport Node

cdef extern from "numpy/arrayobject.h":
    bint PyArray_ISCARRAY(cnp.ndarray a)
    bint PyArray_ISCARRAY_RO(cnp.ndarray a)
    object PyArray_Scalar(void* data, cnp.dtype descr, object base)


cdef enum:
    NONE = -1  # beside those of Reduction
    OTHER = -2


cdef inline int reduction_of(object name):
    """Which of the three it names. A literal of the caller's is our own object, most often."""
    if name is "mean":
        return MEAN
    if name is "sum":
        return TOTAL
    if name is "none":
        return NONE
    if type(name) is not str:
        return OTHER
    if name == "mean":
        return MEAN
    if name == "sum":
        return TOTAL
    return NONE if name == "none" else OTHER


cdef inline bint plain_memory(
    Job* job, Params* p, void* x, void* y, Py_ssize_t n, bint single, object beta, bint huber
):
    """The same for contiguous values; False without any, or if beta is anything else."""
    cdef double threshold
    cdef int itemsize = 4 if single else 8
    if isinstance(beta, float) or type(beta) is int:
        try:
            threshold = beta
        except OverflowError:
            return False
    else:
        return False
    if not (threshold > 0.0 or threshold == 0.0 and not huber) or n == 0:
        return False
    job.n = n
    job.single = single
    make_params(p, threshold, huber, single, False, 1.0)
    if p.form == ARRAY or p.mends or huber and p.beta == 0.0:
        return False
    set_flat(&job.x, x, n, itemsize)
    set_flat(&job.y, y, n, itemsize)
    clear_options(job)
    job.has_scratch = False
    job.outputs = 1
    job.n_params = 1
    job.params = p
    return True


cdef inline bint plain(Job* job, Params* p, object input, object target, object beta, bint huber):
    """Set up the job for two plain arrays; False if they, or beta, are anything else."""
    cdef cnp.ndarray x, y
    cdef int typenum, axis, ndim
    if not (cnp.PyArray_CheckExact(input) and cnp.PyArray_CheckExact(target)):
        return False
    x = <cnp.ndarray>input
    y = <cnp.ndarray>target
    typenum = cnp.PyArray_TYPE(x)
    ndim = cnp.PyArray_NDIM(x)
    if (
        typenum != cnp.PyArray_TYPE(y) or ndim != cnp.PyArray_NDIM(y)
        or not (typenum == cnp.NPY_FLOAT32 or typenum == cnp.NPY_FLOAT64)
        or not PyArray_ISCARRAY_RO(x) or not PyArray_ISCARRAY_RO(y)
    ):
        return False
    for axis in range(ndim):
        if cnp.PyArray_DIM(x, axis) != cnp.PyArray_DIM(y, axis):
            return False
    return plain_memory(
        job, p, cnp.PyArray_DATA(x), cnp.PyArray_DATA(y), cnp.PyArray_SIZE(x),
        typenum == cnp.NPY_FLOAT32, beta, huber,
    )


cdef inline bint plain_out(Job* job, object input, object out):
    """Set up ``out`` if it is plain, too, and apart from the inputs."""
    cdef cnp.ndarray a
    cdef int axis
    cdef char* start
    cdef char* stop
    if not cnp.PyArray_CheckExact(out):
        return False
    a = <cnp.ndarray>out
    if (
        cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(<cnp.ndarray>input)
        or cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(<cnp.ndarray>input)
        or not PyArray_ISCARRAY(a)
    ):
        return False
    for axis in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, axis) != cnp.PyArray_DIM(<cnp.ndarray>input, axis):
            return False
    set_flat(&job.out, cnp.PyArray_DATA(a), job.n, job.x.itemsize)
    start = job.out.data
    stop = start + job.n * job.x.itemsize
    return not (
        start < job.x.data + (stop - start) and job.x.data < stop
        or start < job.y.data + (stop - start) and job.y.data < stop
    )


cdef inline double loss_of(const Node* node, Reduction reduction, const Params* p):
    """The loss, rounded to the working dtype; infinite where it overflows, or a sum on the way."""
    cdef double loss = finish(
        node.loss, node.linear, divisor_of(reduction, node.count, node.weight), p
    )
    return <float>loss if p.single else loss


cdef inline object scalar(double loss, const Params* p):
    cdef float narrow
    if p.single:
        narrow = <float>loss
        return PyArray_Scalar(&narrow, cnp.PyArray_DescrFromType(cnp.NPY_FLOAT32), None)
    return PyArray_Scalar(&loss, cnp.PyArray_DescrFromType(cnp.NPY_FLOAT64), None)


cdef inline void write_number(void* to, double number, bint single) noexcept:
    if single:
        (<float*>to)[0] = <float>number
    else:
        (<double*>to)[0] = number


cdef inline bint streams(const Job* job):
    """Whether mapped memory of the size of the result is written past the caches."""
    return job.n * job.x.itemsize >= STREAM and smoothl1_streams()


cdef inline object empty_like(cnp.ndarray a):
    return cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(a), <cnp.npy_intp*>cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a), 0
    )
