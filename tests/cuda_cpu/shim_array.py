"""The array of the stand-in for CuPy: host memory that behaves as if it could not be reached from the host."""

from __future__ import annotations

import sys
import weakref

import numpy as np

from tests.cuda_cpu import shim_names as names
from tests.cuda_cpu.shim_books import BOOKS
from tests.cuda_cpu.shim_counts import COUNTS
from tests.cuda_cpu.shim_cuda import POOL, Device, Flags, MemoryPointer, current_stream

_KINDS = "?bhilqBHILQefdFD"
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}  # fmt: skip


# Memory that is counted; a function may give back the array that it was given.
OWNED = weakref.WeakValueDictionary()


class ndarray:
    """Like ``cupy.ndarray``. ``_host`` holds the elements; only this package's files look at it."""

    __slots__ = ("__weakref__", "_host")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, order="C"):
        _own(self, np.empty(shape, dtype, order))

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: Flags(self._host.flags))
    data = property(lambda self: MemoryPointer(note(self)._host.ctypes.data))
    device = property(lambda self: Device(0))
    T = property(lambda self: wrap(self._host.T))
    real = property(lambda self: wrap(self._host.real))
    imag = property(lambda self: wrap(self._host.imag))

    @property
    def __cuda_array_interface__(self):
        host = self._host
        return {
            "shape": host.shape,
            "typestr": host.dtype.str,
            "descr": host.dtype.descr,
            "data": (host.ctypes.data, False),
            "strides": None if host.flags.c_contiguous else host.strides,
            "stream": 1,
            "version": 3,
        }

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__" or ufunc.__name__ not in [*names.UFUNCS, "matmul"]:
            return NotImplemented
        if ufunc.__name__ == "matmul":
            return _product(*inputs)
        if ufunc.__name__ in _COMPARISONS.values():
            # NumPy makes arrays of the scalars that it compares with.
            inputs = [x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in inputs]
        outs = kwargs.get("out", ())
        if len(outs) == 1:
            kwargs["out"] = outs[0]
        return call_ufunc(ufunc.__name__, *inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        """NumPy's functions go to those of this library, as CuPy lets them."""
        ours = getattr(sys.modules["cupy"], function.__name__, None)
        return NotImplemented if ours is None or ours is function else ours(*args, **kwargs)

    def get(self, stream=None, order="C", out=None, blocking=True):
        """A copy in host memory, or ``out`` with the elements in it: soon, if not ``blocking``."""
        if out is None:
            return _fetched(self).copy(order)
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        if out.dtype != self.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        if out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        if not (out.flags.c_contiguous or out.flags.f_contiguous):
            raise RuntimeError("`out` cannot be specified when copying to non-contiguous ndarray")
        if blocking:
            out[...] = _fetched(self)
        else:
            COUNTS.download(self.nbytes, is_behind=stream in (None, current_stream()))
            (stream or current_stream()).fill_later(out, note(self, stream=stream)._host.copy())
        return out

    def set(self, arr, stream=None):
        """Take the elements of an array of the host, of the same dtype and shape."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        COUNTS.note("uploads", arr.nbytes)
        note(self, writes=True, stream=stream)._host[...] = arr
        current_stream().synchronize() if stream is None else stream.read_later(arr)

    def fill(self, value):
        """Fill with one number."""
        COUNTS.note("calls")
        note(self, writes=True)._host.fill(_number_to_fill(value))

    def reshape(self, *shape, order="C"):
        """The elements in another shape; a view where that is possible."""
        found = self._host.reshape(*shape, order=order)
        if found.base is not None:
            return wrap(found)
        COUNTS.note("calls")
        return wrap(note(self)._host.reshape(*shape, order=order))

    def transpose(self, *axes):
        """A view with the axes in another order."""
        return wrap(self._host.transpose(*axes))

    def item(self):
        """The only element, as a number of Python."""
        return _fetched(self).item()

    def tolist(self):
        """The elements as lists."""
        return _fetched(self).tolist()

    def tobytes(self, order="C"):
        """The elements as bytes."""
        return _fetched(self).tobytes(order)

    def __getitem__(self, key):
        key, is_view = _key(key)
        found = (self if is_view else note(self))._host[key]
        if not is_view:
            COUNTS.note("calls")
            if any(isinstance(part, np.ndarray) and part.dtype.kind == "b" for part in key):
                COUNTS.note("waits")  # as many elements as are True
        return wrap(found if is_view else np.array(found))

    def __setitem__(self, key, value):
        key, is_view = _key(key)
        if isinstance(value, ndarray):
            value = note(value)._host
        elif is_view:
            value = _number_to_fill(value)
        if self._host[key].size:
            COUNTS.note("calls")
        with np.errstate(all="ignore"):
            note(self, writes=True)._host[key] = value

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return len(self._host)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        return bool(_fetched(self))

    def __int__(self):
        return int(_fetched(self))

    def __float__(self):
        return float(_fetched(self))

    def __complex__(self):
        return complex(_fetched(self))

    def __format__(self, specification):
        return format(_fetched(self)[()] if not self.ndim else _fetched(self), specification)

    def __repr__(self):
        return repr(_fetched(self))

    def __str__(self):
        return str(_fetched(self))

    def __matmul__(self, other):
        return _product(self, other)

    def __rmatmul__(self, other):
        return _product(other, self)

    def __divmod__(self, other):
        return self // other, self % other


ndarray.__module__ = "cupy"


def wrap(result):
    """Arrays and scalars of NumPy as arrays of the device; tuples and lists of them likewise."""
    if isinstance(result, np.ndarray | np.generic):
        host = np.asarray(result)
        if host.dtype.char not in _KINDS:
            raise ValueError(f"Unsupported dtype {host.dtype}")
        array = ndarray.__new__(ndarray)
        if host.base is None and OWNED.get(id(host)) is not host:
            _own(array, host)
        else:
            array._host = host
            BOOKS.make(host, current_stream().clock)
        return array
    if isinstance(result, tuple | list):
        return (
            type(result)(wrap(part) for part in result) if type(result) in (tuple, list) else tuple(map(wrap, result))
        )
    return result


def _own(array, host):
    POOL.take(host.nbytes)
    OWNED[id(host)] = host
    weakref.finalize(host, POOL.give, host.nbytes).atexit = False
    array._host = host
    BOOKS.make(host, current_stream().clock)


def note(array, *, writes=False, stream=None):
    """The same array, after a note in the books that a stream, by default the current one, reads or writes it."""
    BOOKS.use(array._host, (stream or current_stream()).clock, writes=writes)
    return array


def _fetched(array):
    """The elements, for which the current stream is waited for."""
    host = note(array)._host
    COUNTS.note("downloads", host.nbytes)
    current_stream().synchronize()
    return host


def unwrap(value):
    """The host memory of an array of the device, to be read; lists of them likewise. Arrays of NumPy are refused."""
    if isinstance(value, ndarray):
        return note(value)._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, tuple | list):
        return type(value)(map(unwrap, value))
    return value


def holds_array(value):
    """Whether the value is, or a list holds, an array of the device."""
    return isinstance(value, ndarray) or (isinstance(value, tuple | list) and any(map(holds_array, value)))


def call_ufunc(name, *args, **kwargs):
    """An elementwise function; operands are arrays of the device and numbers."""
    unknown = set(kwargs) - set(names.UFUNC_KEYWORDS)
    if unknown:
        raise TypeError(f"Wrong arguments {unknown}")
    for value in args:
        if not isinstance(value, ndarray | np.generic | bool | int | float | complex) and value is not None:
            raise TypeError(f"Unsupported type {type(value)}")
    ufunc = getattr(np, name)
    out = args[ufunc.nin] if len(args) > ufunc.nin else kwargs.get("out")
    if out is not None and not isinstance(out, ndarray):
        raise TypeError(f"return arrays must be of cupy.ndarray, not {type(out)}")
    with np.errstate(all="ignore"):
        result = ufunc(*map(unwrap, args), **{k: unwrap(v) for k, v in kwargs.items()})
    COUNTS.note("calls")
    return wrap(result) if out is None else note(out, writes=True)


def _product(left, right):
    for value in (left, right):
        if not isinstance(value, ndarray):
            raise TypeError(f"Argument has incorrect type (expected cupy._core.core._ndarray_base, got {type(value)})")
    COUNTS.note("calls")
    with np.errstate(all="ignore"):
        return wrap(np.matmul(unwrap(left), unwrap(right)))


def _number_to_fill(value):
    if isinstance(value, np.ndarray):
        if value.shape != ():
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        return value.item()
    if isinstance(value, ndarray) and value.ndim == 0:
        return note(value)._host[()]
    if not isinstance(value, np.generic | bool | int | float | complex):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def _key(key):
    """A key for the host memory, and whether it makes a view (no array and no list is part of it).

    CuPy moves an index array of the host to the device by itself, and takes anything with ``__int__`` for the ends of
    a slice. Where it wraps an index beyond the end round, this raises IndexError.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    is_view = True
    for i, part in enumerate(parts):
        if isinstance(part, slice):
            parts[i] = slice(*(end if end is None else _end(end) for end in (part.start, part.stop, part.step)))
        elif isinstance(part, ndarray | np.ndarray | list | tuple):
            is_view = False
            parts[i] = note(part)._host if isinstance(part, ndarray) else np.asarray(part)
            if not isinstance(part, ndarray):
                COUNTS.note("uploads", parts[i].nbytes)
            if parts[i].size == 0 and isinstance(part, list | tuple):
                parts[i] = parts[i].astype(int)
            if parts[i].dtype.kind not in "biu":
                raise IndexError(
                    f"arrays used as indices must be of integer or boolean type. (actual: {parts[i].dtype})"
                )
    # With an ellipsis even a single element is a view.
    if is_view and not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    return tuple(parts), is_view


def _end(end):
    return end.__index__() if hasattr(end, "__index__") else int(end)


def _method(name, text):
    by_position, by_name = names.parameters(text)
    result_is_self = name in ("partition", "sort")

    def method(self, *args, **kwargs):
        check_call(name, by_position, by_name, args, kwargs)
        args, hosts = tuple(map(unwrap, args)), {k: unwrap(v) for k, v in kwargs.items()}
        host = self._host if name == "view" else note(self, writes=result_is_self)._host  # a view is not read
        with np.errstate(all="ignore"):
            result = getattr(host, name)(*args, **hosts)
        COUNTS.call(name, result, [] if result_is_self else [self._host])
        if kwargs.get("out") is not None:
            return note(kwargs["out"], writes=True)
        return self if name == "astype" and result is self._host else wrap(result)

    method.__name__ = name
    setattr(ndarray, name, method)


def check_call(name, by_position, by_name, args, kwargs):
    """Refuse arguments that CuPy does not take."""
    if len(args) > len(by_position):
        raise TypeError(f"{name}() takes {len(by_position)} positional arguments but {len(args)} were given")
    unknown = set(kwargs) - set(by_position) - set(by_name)
    if unknown:
        raise TypeError(f"{name}() got an unexpected keyword argument {sorted(unknown)[0]!r}")


def _operator(dunder, ufunc, is_swapped=False, is_in_place=False):
    def method(self, other):
        if is_in_place:
            return call_ufunc(ufunc, self, other, out=self)
        if other is None:
            raise TypeError(f"Unsupported type {type(other)}")
        return call_ufunc(ufunc, *((other, self) if is_swapped else (self, other)))

    method.__name__ = dunder
    setattr(ndarray, dunder, method)


def _add_methods():
    for name, text in names.METHODS.items():
        _method(name, text)
    arithmetic = {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
        "mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
        "lshift": "left_shift", "rshift": "right_shift",
    }  # fmt: skip
    for name, ufunc in arithmetic.items():
        _operator(f"__{name}__", ufunc)
        _operator(f"__r{name}__", ufunc, is_swapped=True)
        _operator(f"__i{name}__", ufunc, is_in_place=True)
    for name, ufunc in _COMPARISONS.items():
        _operator(f"__{name}__", ufunc)
    for name, ufunc in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
        setattr(ndarray, f"__{name}__", lambda self, ufunc=ufunc: call_ufunc(ufunc, self))


_add_methods()
