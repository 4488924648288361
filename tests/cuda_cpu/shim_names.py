"""What the stand-in for CuPy has: names and parameters that CuPy 14 and NumPy share, nothing else.

Parameters before ``|`` may be given by position, in this order; those after it by name only, because the two libraries
differ in their places or one lacks them. A name that gpustitch comes to need is added here, after a look at CuPy.
"""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


UFUNCS = _words(
    "abs absolute add arctan2 bitwise_and bitwise_or bitwise_xor ceil conj conjugate copysign cos divide equal exp "
    "exp2 expm1 fabs floor floor_divide fmax fmin greater greater_equal hypot invert isfinite isinf isnan "
    "left_shift less less_equal log log10 log1p log2 logical_and logical_not logical_or logical_xor maximum minimum "
    "mod multiply negative not_equal positive power reciprocal remainder right_shift rint sign signbit sin sqrt "
    "square subtract tan tanh true_divide trunc"
)
UFUNC_KEYWORDS = ["out", "casting", "dtype"]

# These make arrays out of numbers.
CREATION = {
    "arange": "start stop step dtype |",
    "empty": "shape dtype order |",
    "eye": "N M k dtype |",
    "full": "shape fill_value dtype order |",
    "identity": "n dtype |",
    "indices": "dimensions dtype |",
    "linspace": "start stop num endpoint retstep dtype axis |",
    "ones": "shape dtype order |",
    "zeros": "shape dtype order |",
}

_REDUCTION = "a axis | out keepdims"
_SUM = "a axis dtype out | keepdims"

# These take arrays of the device, at least one.
FUNCTIONS = {
    "all": _REDUCTION,
    "allclose": "a b rtol atol equal_nan |",
    "amax": _REDUCTION,
    "amin": _REDUCTION,
    "any": _REDUCTION,
    "append": "arr values axis |",
    "argmax": _REDUCTION,
    "argmin": _REDUCTION,
    "argpartition": "a kth axis |",
    "argsort": "a axis | kind",
    "argwhere": "a |",
    "around": "a decimals out |",
    "array_equal": "a1 a2 equal_nan |",
    "array_split": "ary indices_or_sections axis |",
    "ascontiguousarray": "a dtype |",
    "average": "a axis weights returned | keepdims",
    "bincount": "x weights minlength |",
    "broadcast_to": "array shape |",
    "clip": "a a_min a_max out |",
    "column_stack": "tup |",
    "concatenate": "tup axis out | dtype casting",
    "copy": "a order |",
    "copyto": "dst src casting where |",
    "count_nonzero": "a axis |",
    "cumprod": "a axis dtype out |",
    "cumsum": "a axis dtype out |",
    "diag": "v k |",
    "diff": "a n axis prepend append |",
    "digitize": "x bins right |",
    "dot": "a b out |",
    "empty_like": "prototype dtype order | shape",
    "expand_dims": "a axis |",
    "flatnonzero": "a |",
    "flip": "a axis |",
    "full_like": "a fill_value dtype order | shape",
    "histogram": "x bins range density weights |",
    "hstack": "tup |",
    "imag": "val |",
    "inner": "a b |",
    "interp": "x xp fp left right period |",
    "isclose": "a b rtol atol equal_nan |",
    "isin": "element test_elements assume_unique invert |",
    "max": _REDUCTION,
    "may_share_memory": "a b |",
    "mean": _SUM,
    "median": "a axis out overwrite_input keepdims |",
    "min": _REDUCTION,
    "moveaxis": "a source destination |",
    "nan_to_num": "x copy nan posinf neginf |",
    "nanmax": "a axis out | keepdims",
    "nanmean": "a axis dtype out | keepdims",
    "nanmedian": "a axis out overwrite_input keepdims |",
    "nanmin": "a axis out | keepdims",
    "nansum": "a axis dtype out | keepdims",
    "ndim": "a |",
    "nonzero": "a |",
    "ones_like": "a dtype order | shape",
    "outer": "a b out |",
    "partition": "a kth axis |",
    "percentile": "a q axis out overwrite_input method keepdims |",
    "prod": _SUM,
    "ptp": "a axis out | keepdims",
    "quantile": "a q axis out overwrite_input method keepdims |",
    "ravel": "a order |",
    "real": "val |",
    "repeat": "a repeats axis |",
    "reshape": "a newshape order |",
    "roll": "a shift axis |",
    "rot90": "a k axes |",
    "round": "a decimals out |",
    "searchsorted": "a v side sorter |",
    "shares_memory": "a b |",
    "sort": "a axis | kind",
    "split": "ary indices_or_sections axis |",
    "squeeze": "a axis |",
    "stack": "tup axis out | dtype casting",
    "std": "a axis dtype out ddof | keepdims",
    "sum": _SUM,
    "swapaxes": "a axis1 axis2 |",
    "take": "a indices axis out |",
    "take_along_axis": "a indices axis |",
    "tensordot": "a b axes |",
    "tile": "A reps |",
    "transpose": "a axes |",
    "tril": "m k |",
    "triu": "m k |",
    "unravel_index": "indices dims order |",
    "unique": "ar return_index return_inverse return_counts axis |",
    "var": "a axis dtype out ddof | keepdims",
    "vdot": "a b |",
    "vstack": "tup |",
    "where": "condition x y |",
    "zeros_like": "a dtype order | shape",
}
# CuPy says *args or **kwargs here, and checks the names itself; two of matmul's inputs are arrays.
VARIADIC = {
    "matmul": "x1 x2 out | casting dtype axes axis",
    "pad": "array pad_width mode | constant_values end_values reflect_type stat_length",
    "einsum": "| out dtype",
    "broadcast_arrays": "|",
    "meshgrid": "| indexing sparse copy",
}

METHODS = {
    "all": "axis out keepdims |",
    "any": "axis out keepdims |",
    "argmax": "axis out | keepdims",
    "argmin": "axis out | keepdims",
    "argpartition": "kth axis |",
    "argsort": "axis kind |",
    "astype": "dtype order casting | copy",
    "clip": "min max out |",
    "conj": "|",
    "copy": "order |",
    "cumprod": "axis dtype out |",
    "cumsum": "axis dtype out |",
    "diagonal": "offset axis1 axis2 |",
    "dot": "b out |",
    "flatten": "order |",
    "max": "axis out keepdims |",
    "mean": "axis dtype out keepdims |",
    "min": "axis out keepdims |",
    "nonzero": "|",
    "partition": "kth axis |",
    "prod": "axis dtype out keepdims |",
    "ravel": "order |",
    "repeat": "repeats axis |",
    "round": "decimals out |",
    "searchsorted": "v side sorter |",
    "sort": "axis kind |",
    "squeeze": "axis |",
    "std": "axis dtype out ddof keepdims |",
    "sum": "axis dtype out keepdims |",
    "swapaxes": "axis1 axis2 |",
    "take": "indices axis out |",
    "trace": "offset axis1 axis2 dtype out |",
    "var": "axis dtype out ddof keepdims |",
    "view": "dtype |",
}

# What a module holds that is the same in both libraries.
SHARED = _words(
    "bool_ complex128 complex64 dtype e euler_gamma finfo float16 float32 float64 iinfo inf int16 int32 int64 int8 "
    "intp nan newaxis pi uint16 uint32 uint64 uint8 result_type can_cast promote_types broadcast_shapes"
)

STRIDE_TRICKS = {"as_strided": "x shape strides |", "sliding_window_view": "x window_shape axis |"}

_FFT, _FFTN = "x n axis norm overwrite_x |", "x s axes norm overwrite_x |"
SCIPY_FFT = {
    **dict.fromkeys(("fft", "ifft", "rfft", "irfft"), _FFT),
    **dict.fromkeys(("fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn", "irfftn"), _FFTN),
    "dct": "x type n axis norm overwrite_x |",
    "idct": "x type n axis norm overwrite_x |",
    "fftshift": "x axes |",
}
SCIPY_FFT_CREATION = {"fftfreq": "n d |", "rfftfreq": "n d |"}
SCIPY_FFT_NUMBERS = {"next_fast_len": "target real |"}

_RANK = "input size footprint output mode cval origin | axes"
SCIPY_NDIMAGE = {
    "affine_transform": "input matrix offset output_shape output order mode cval prefilter |",
    "convolve": "input weights output mode cval origin |",
    "convolve1d": "input weights axis output mode cval origin |",
    "correlate": "input weights output mode cval origin |",
    "correlate1d": "input weights axis output mode cval origin |",
    "gaussian_filter": "input sigma order output mode cval truncate | radius axes",
    "gaussian_filter1d": "input sigma axis order output mode cval truncate |",
    "label": "input structure output |",
    "map_coordinates": "input coordinates output order mode cval prefilter |",
    "maximum_filter": _RANK,
    "maximum_filter1d": "input size axis output mode cval origin |",
    "median_filter": _RANK,
    "minimum_filter": _RANK,
    "minimum_filter1d": "input size axis output mode cval origin |",
    "percentile_filter": "input percentile size footprint output mode cval origin | axes",
    "shift": "input shift output order mode cval prefilter |",
    "uniform_filter": "input size output mode cval origin | axes",
    "uniform_filter1d": "input size axis output mode cval origin |",
    "zoom": "input zoom output order mode cval prefilter | grid_mode",
}

SKIMAGE_FILTERS = {
    "gaussian": "image sigma | mode cval preserve_range truncate channel_axis out",
    "sobel": "image mask | axis mode cval",
    "threshold_otsu": "image nbins | hist",
}
SKIMAGE_FEATURE = {
    "peak_local_max": "image min_distance threshold_abs threshold_rel exclude_border num_peaks footprint labels |",
}
SKIMAGE_MEASURE = {"label": "label_image background return_num connectivity |"}
SKIMAGE_REGISTRATION = {
    "phase_cross_correlation": (
        "reference_image moving_image | upsample_factor space disambiguate reference_mask moving_mask overlap_ratio "
        "normalization"
    ),
}


def parameters(text: str) -> tuple[list[str], list[str]]:
    """Names that may be given by position, and those that may only be given by name."""
    by_position, _, by_name = text.partition("|")
    return by_position.split(), by_name.split()
