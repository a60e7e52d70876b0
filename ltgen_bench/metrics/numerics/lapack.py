"""A few routines of SciPy's BLAS and LAPACK, called so that other threads can run meanwhile.

`scipy.linalg.blas` and `scipy.linalg.lapack` keep the interpreter's lock during a call, so two threads take turns. The
same compiled routines are offered to Cython code as C functions, and ctypes gives up the lock. NumPy gives it up too,
but brings a BLAS of its own: where one matrix goes through both, the threads of the two wait for each other's cores.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from types import ModuleType

import numpy as np

from ltgen_bench.metrics.inputs import Float64Array

Argument = int | float | bytes | np.ndarray


@cache
def _routine(module: ModuleType, name: str) -> Callable[..., None]:
    capsule = module.__pyx_capi__[name]
    get_name, get_pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = get_name(capsule)
    if b"int *" not in signature or b"long" in signature:
        raise RuntimeError(f"SciPy's {name} takes other integers than the 32-bit ones expected: {signature!r}")
    function: Callable[..., None] = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * signature.count(b"*"))(
        get_pointer(capsule, signature)
    )
    return function


def _call(module: ModuleType, name: str, *arguments: Argument) -> int:
    """Call a Fortran routine; every number goes by reference. Returns the last argument, which LAPACK calls info."""
    held = [_by_reference(argument) for argument in arguments]
    _routine(module, name)(*(h.ctypes.data if isinstance(h, np.ndarray) else ctypes.addressof(h) for h in held))
    last = held[-1]
    return last.value if isinstance(last, ctypes.c_int) else 0


def _by_reference(argument: Argument) -> np.ndarray | ctypes.c_int | ctypes.c_double | ctypes.c_char:
    if isinstance(argument, np.ndarray):
        if argument.dtype not in (np.float64, np.intc):
            raise ValueError(f"expected float64, got an array of {argument.dtype}")
        return argument
    if isinstance(argument, bytes):
        return ctypes.c_char(argument)
    return ctypes.c_double(argument) if isinstance(argument, float) else ctypes.c_int(argument)


def add_scatter(rows: Float64Array, upper: Float64Array) -> None:
    """Add rows^T rows, of `rows` (n, D) in C order, to the upper triangle of `upper` (D, D) in Fortran order."""
    from scipy.linalg import cython_blas

    count, dimension = rows.shape
    if not (rows.flags.c_contiguous and upper.flags.f_contiguous and upper.shape == (dimension, dimension)):
        raise ValueError(f"expected C order and Fortran order, got {rows.flags} {rows.shape} and {upper.flags}")
    # Rows in C order are, to Fortran, the columns of a D x n matrix.
    _call(cython_blas, "dsyrk", b"U", b"N", dimension, count, 1.0, rows, dimension, 1.0, upper, dimension)


def cholesky(symmetric: Float64Array) -> Float64Array | None:
    """The lower triangular R with R R^T = S, both (D, D) in C order; None where S is not positive definite.

    What is above the diagonal of the result stays as it was in S.
    """
    from scipy.linalg import cython_lapack

    factor = np.array(symmetric, dtype=np.float64, order="C")
    # Fortran sees the transpose: of S it is S, of the lower R it is the upper R^T.
    info = _call(cython_lapack, "dpotrf", b"U", len(factor), factor, len(factor), 0)
    if info < 0:
        raise RuntimeError(f"dpotrf reported {info}")
    return factor if info == 0 else None


def congruence(factor: Float64Array, symmetric: Float64Array) -> Float64Array:
    """R^T S R for the R of `cholesky` and a symmetric S, all (D, D) in C order: its lower triangle.

    LAPACK's reduction of a generalised eigenproblem, type 2, is exactly this product, with a quarter of the operations
    of two matrix products. What is above the diagonal stays as it was in S.
    """
    from scipy.linalg import cython_lapack

    dimension = len(factor)
    if factor.shape != symmetric.shape or factor.shape != (dimension, dimension) or not factor.flags.c_contiguous:
        raise ValueError(
            f"expected two square matrices of one size in C order, got {factor.shape} and {symmetric.shape}"
        )
    product = np.array(symmetric, dtype=np.float64, order="C")
    info = _call(cython_lapack, "dsygst", 2, b"U", dimension, product, dimension, factor, dimension, 0)
    if info:
        raise RuntimeError(f"dsygst reported {info}")
    return product


def eigen(symmetric: Float64Array, *, vectors: bool = False) -> tuple[Float64Array, Float64Array | None]:
    """Eigenvalues (D,) in ascending order of a symmetric matrix (D, D) in C order, and its eigenvectors as columns.

    Only the lower triangle is read. The matrix is overwritten, with the eigenvectors where they are asked for.
    """
    from scipy.linalg import cython_lapack

    dimension = len(symmetric)
    if symmetric.shape != (dimension, dimension) or not symmetric.flags.c_contiguous:
        raise ValueError(f"expected a square matrix in C order, got {symmetric.shape}")
    values = np.empty(dimension)
    # What dsyevd asks for, with room for blocks of 64 columns.
    work = np.empty(1 + 6 * dimension + 2 * dimension**2 if vectors else 1 + 66 * dimension)
    whole = np.empty(3 + 5 * dimension, dtype=np.intc)
    what = (b"V" if vectors else b"N", b"U", dimension, symmetric, max(1, dimension))
    info = _call(cython_lapack, "dsyevd", *what, values, work, work.size, whole, whole.size, 0)
    if info:
        raise RuntimeError(f"dsyevd reported {info}")
    return values, symmetric.T if vectors else None
