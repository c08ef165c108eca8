"""Ufuncs as NumPy's objects: made of the loops, and asked which loop suits which dtypes."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

cimport numpy as cnp

from jobs cimport Operation
from team cimport allocate
from ufuncs cimport Formula, INPUTS, loop_double, loop_single

cdef extern from "numpy/ufuncobject.h":
    # NumPy's own declarations for Cython lack const, and the resolver of types.
    ctypedef void (*Loop "PyUFuncGenericFunction")(
        char**, const cnp.npy_intp*, const cnp.npy_intp*, void*
    ) noexcept nogil
    ctypedef struct PyArrayObject:
        pass
    ctypedef struct PyArray_Descr:
        pass
    ctypedef int Resolver "PyUFunc_TypeResolutionFunc"(
        PyUFuncObject*, cnp.NPY_CASTING, PyArrayObject**, PyObject*, PyArray_Descr**
    ) noexcept
    ctypedef struct PyUFuncObject:
        void** data
        Resolver* type_resolver
    const int PyUFunc_None
    object PyUFunc_FromFuncAndData(
        Loop*, void**, const char*, int, int, int, int, const char*, const char*, int
    )


cdef enum:
    LOOPS = 2
    OPERANDS_OF_ALL = LOOPS * (INPUTS + 1)


cdef struct Made:
    # What a ufunc points to for as long as it lives, which is for ever.
    Formula formula  # first: its address is what a loop is handed
    Loop loops[LOOPS]
    void* data[LOOPS]
    char types[OPERANDS_OF_ALL]
    Resolver* by_loops
    PyObject* is_bfloat16  # of Python, asked of a dtype


cdef inline int resolve(
    PyUFuncObject* ufunc, cnp.NPY_CASTING casting, PyArrayObject** operands, PyObject* asked,
    PyArray_Descr** found,
) noexcept:
    """Integers work in float64, as with the functions: float32 would hold those of two bytes.

    NumPy remembers what is found for the dtypes of the operands, so nothing but these may count.
    Python's numbers are no such operands, nor arrays of two bytes.
    """
    cdef Made* made = <Made*>ufunc.data[0]
    cdef bint small = False, known = asked is NULL or <object>asked is None
    cdef cnp.ndarray a
    cdef cnp.dtype wide
    cdef int k
    for k in range(INPUTS):
        a = <cnp.ndarray><PyObject*>operands[k]
        if cnp.PyArray_ISINTEGER(a) or cnp.PyArray_ISBOOL(a):
            small = small or cnp.PyArray_ITEMSIZE(a) <= 2
        else:
            known = known and (
                cnp.PyArray_TYPE(a) in (cnp.NPY_FLOAT16, cnp.NPY_FLOAT32, cnp.NPY_FLOAT64)
                or cnp.PyArray_ISUSERDEF(a) and (<object>made.is_bfloat16)(a.descr)
            )
    if not (known and small):
        return made.by_loops(ufunc, casting, operands, asked, found)
    wide = cnp.PyArray_DescrFromType(cnp.NPY_FLOAT64)
    for k in range(INPUTS + 1):
        Py_INCREF(wide)
        found[k] = <PyArray_Descr*><PyObject*>wide
    return 0


cdef inline object make_ufunc(
    bytes name, bytes doc, Operation operation, bint huber, object is_bfloat16
):
    """A new ufunc of one of the formulas."""
    cdef Made* made = <Made*>allocate(sizeof(Made))
    cdef PyUFuncObject* ufunc
    cdef int k
    for kept in (name, doc, is_bfloat16):
        Py_INCREF(kept)
    made.formula = Formula(operation, huber)
    # The narrowest first: NumPy takes the first that holds all operands but Python's numbers.
    made.loops[0] = loop_single
    made.loops[1] = loop_double
    made.data[0] = made.data[1] = made
    for k in range(INPUTS + 1):
        made.types[k] = cnp.NPY_FLOAT32
        made.types[INPUTS + 1 + k] = cnp.NPY_FLOAT64
    made.is_bfloat16 = <PyObject*>is_bfloat16
    result = PyUFunc_FromFuncAndData(
        made.loops, made.data, made.types, LOOPS, INPUTS, 1, PyUFunc_None, name, doc, 0
    )
    ufunc = <PyUFuncObject*><PyObject*>result
    made.by_loops = ufunc.type_resolver
    ufunc.type_resolver = resolve
    return result
