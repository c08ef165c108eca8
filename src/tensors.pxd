"""Tensors of another library, seen through the functions that their type offers to C (DLPack).

One call tells all of a tensor, where each question to the object would take as long. Here are
also the losses of the memory so seen; what a tensor's type has to be asked for, and new tensors,
are the affair of ``Tensors``.
"""

from cpython.exc cimport PyErr_Clear
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.float cimport FLT_MAX, FLT_MIN
from libc.math cimport isinf
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from jobs cimport Job, MEAN, Reduction, SLOPE, SUM, Sink, VALUE, set_scale
from operands cimport set_flat
from plain cimport NONE, OTHER, loss_of, plain_memory, reduction_of, write_number
from terms cimport Params
from tree cimport Node


# Of ``dlpack.h``, version 1.

cdef struct Device:
    int32_t type
    int32_t id

cdef struct DataType:
    uint8_t code
    uint8_t bits
    uint16_t lanes

cdef struct View:
    # The memory of a tensor, which stays the tensor's.
    void* data
    Device device
    int32_t ndim
    DataType dtype
    int64_t* shape
    int64_t* strides  # in elements
    uint64_t byte_offset

# 0, or -1 with an exception.
ctypedef int (*Export)(void* tensor, View* view) noexcept

cdef struct Exchange:
    uint32_t major
    uint32_t minor
    void* previous
    void* allocate
    void* share
    void* to_object
    Export export
    void* stream

cdef enum:
    VERSION = 1
    CPU = 1
    FLOAT = 2


cdef inline Export export_of(object type) except? NULL:
    """The function that views tensors of a type; NULL if it has none that is known here."""
    cdef Exchange* exchange
    capsule = getattr(type, "__dlpack_c_exchange_api__", None)
    if not PyCapsule_IsValid(capsule, "dlpack_exchange_api"):
        return NULL
    exchange = <Exchange*>PyCapsule_GetPointer(capsule, "dlpack_exchange_api")
    return exchange.export if exchange.major == VERSION else NULL


cdef inline bint has_numbers(Export export, object tensor, View* view) noexcept:
    """View a tensor; False if it has no aligned float32 or float64 in memory of the processor."""
    if export(<void*>tensor, view) != 0:
        PyErr_Clear()
        return False
    if (
        view.device.type != CPU or view.data is NULL
        or view.dtype.code != FLOAT or view.dtype.lanes != 1
        or not (view.dtype.bits == 32 or view.dtype.bits == 64)
    ):
        return False
    view.data = <char*>view.data + view.byte_offset
    view.byte_offset = 0
    return <size_t>view.data % (view.dtype.bits // 8) == 0


cdef inline int64_t contiguous_size(const View* view) noexcept:
    """The number of elements, if they follow each other in memory; else 0."""
    cdef int64_t size = 1
    cdef int axis
    for axis in range(view.ndim - 1, -1, -1):
        if view.shape[axis] != 1 and view.strides[axis] != size:
            return 0
        size *= view.shape[axis]
    return size


cdef inline bint same_shape(const View* a, const View* b) noexcept:
    cdef int axis
    if a.ndim != b.ndim or a.dtype.bits != b.dtype.bits:
        return False
    for axis in range(a.ndim):
        if a.shape[axis] != b.shape[axis]:
            return False
    return True


cdef inline bint is_constant(const View* view) noexcept:
    """Whether all elements are one, as in a number that was expanded."""
    cdef int axis
    for axis in range(view.ndim):
        if view.strides[axis] != 0:
            return False
    return True


# Runs a job on as many threads as it is worth: there is one such function, in ``_smoothl1.pyx``,
# and small calls are quicker if it alone has the code for that.
ctypedef int (*Run)(Job* job, Node* totals, Sink* sink) except -1


cdef inline bint is_threshold(object threshold, bint huber):
    """Whether it is a number that PyTorch has no rules of its own for."""
    cdef double number
    if type(threshold) is not float and type(threshold) is not int:
        return False
    try:
        number = threshold
    except OverflowError:
        return False
    return FLT_MIN <= number <= FLT_MAX or number == 0.0 and not huber


cdef inline bint write_loss(
    void* input, void* target, void* value, void* grad, Py_ssize_t n, bint single, reduction,
    beta, bint huber, int n_threads, Run run,
) except -1:
    """Write the loss, and with ``grad`` its gradient too; False where that is not for here.

    It is not where PyTorch's rules may differ, or where the loss overflows.
    """
    cdef Job job
    cdef Params p
    cdef Node node
    cdef double loss
    cdef int itemsize = 4 if single else 8
    cdef int how = reduction_of(reduction)
    cdef bint elementwise = how == NONE
    if how == OTHER or not plain_memory(&job, &p, input, target, n, single, beta, huber):
        return False
    job.reduce = not elementwise
    if elementwise or grad is NULL:
        job.n_threads = n_threads
        job.operation = SUM
        if elementwise:
            job.operation = VALUE
            set_flat(&job.out, value, n, itemsize)
        run(&job, &node, NULL)
    if grad is not NULL:
        job.n_threads = n_threads
        job.operation = SLOPE
        set_flat(&job.out, grad, n, itemsize)
        if how == MEAN:
            set_scale(&job, 1.0, n)
        run(&job, &node, NULL)
    if elementwise:
        return True
    loss = loss_of(&node, <Reduction>how, &p)
    if isinf(loss):
        return False
    write_number(value, loss, single)
    return True
