"""Bodies with a planted mistake that only sanitizers notice; run as a program with sanitized bodies.

Prints for each, as JSON, what its process wrote before it ended; the one without a mistake ends quietly.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

import numpy as np

from tests.cuda_cpu.module import RawModule

_PARAMETERS = "const float* a, const float* const* table, int most, unsigned short* out"
_TEMPLATE = "template <typename V> __device__ V* kept_by_template() { __shared__ V kept[8]; return kept; } "
# Every body is run by 8 threads on a[8], table of two arrays of 8, most = 2**31 - 1, out[8]; its text is at line 2.
BODIES = {
    "no mistake": "out[threadIdx.x] = (unsigned short)(a[threadIdx.x] + table[1][threadIdx.x]);",
    "read past the end": "out[threadIdx.x] = (unsigned short)a[threadIdx.x + 1];",
    "read before the start": "out[threadIdx.x] = (unsigned short)a[(int)threadIdx.x - 1];",
    "read past the end of an array in a list": "out[threadIdx.x] = (unsigned short)table[1][threadIdx.x + 1];",
    "write past the end": "out[threadIdx.x + 1] = 1;",
    "read past the end of shared memory": """__shared__ float kept[8], other[8];
        kept[threadIdx.x] = other[threadIdx.x] = 1.0f;
        __syncthreads();
        const float* first = most > 0 ? kept : other;
        out[threadIdx.x] = (unsigned short)first[threadIdx.x + 1];""",
    "write past the end of shared memory": """__shared__ float kept[8];
        kept[threadIdx.x + 1] = 1.0f;
        __syncthreads();
        out[threadIdx.x] = (unsigned short)kept[threadIdx.x];""",
    "write past the end of shared memory after a barrier": """__shared__ float kept[8], other[8];
        float* first = threadIdx.x < 9 ? kept : other;
        first[threadIdx.x] = 1.0f;
        __syncthreads();
        first[threadIdx.x + 1] = a[threadIdx.x];
        __syncthreads();
        out[threadIdx.x] = (unsigned short)(first[threadIdx.x] + other[0]);""",
    "write past the end of shared memory of a template": """float* kept = kept_by_template<float>();
        kept[threadIdx.x + 1] = 1.0f;
        __syncthreads();
        out[threadIdx.x] = (unsigned short)kept[1];""",
    "read past the end of dynamic shared memory": """extern __shared__ float kept[];
        kept[threadIdx.x] = 1.0f;
        __syncthreads();
        out[threadIdx.x] = (unsigned short)kept[threadIdx.x + 1];""",
    "read past the end of an array of the thread": """float own[4] = {a[0], a[1], a[2], a[3]};
        const float* first = own;
        out[threadIdx.x] = (unsigned short)first[threadIdx.x];""",
    "float beyond uint16": "out[threadIdx.x] = (unsigned short)(a[threadIdx.x] + 65536.0f);",
    "negative float to uint16": "out[threadIdx.x] = (unsigned short)(a[threadIdx.x] - 7.5f);",
    "signed overflow": "const int sum = most + (int)threadIdx.x; out[threadIdx.x] = sum > 0;",
    "shift too far": "out[threadIdx.x] = (unsigned short)(1 << (28 + threadIdx.x));",
    "misaligned vector": "out[threadIdx.x] = (unsigned short)((const float4*)(a + threadIdx.x % 4))->x;",
}


def run(text: str) -> None:
    """Run one body."""
    entry = f'extern "C" __global__ void planted({_PARAMETERS})'
    code = f'#line 1 "kernels/planted.cu"\n{_TEMPLATE} {entry} {{\n        {text}\n}}\n'
    a, out = np.arange(8, dtype=np.float32), np.zeros(8, np.uint16)
    arrays = [a.copy(), a.copy()]
    table = np.array([array.ctypes.data for array in arrays], np.uint64)
    shared: dict[str, Any] = {"shared_mem": 32} if "extern __shared__" in text else {}
    planted = RawModule(code=code).get_function("planted")
    planted((1,), (8,), (a, table, np.int32(2**31 - 1), out), **shared)


def report(text: str) -> dict[str, Any]:
    """Exit status and last words of a process that runs one body."""
    with tempfile.TemporaryFile() as words:
        process = os.fork()
        if process == 0:
            os.dup2(words.fileno(), 2)
            run(text)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        words.seek(0)
        return {"status": status, "words": words.read().decode(errors="replace")}


if __name__ == "__main__":
    json.dump({name: report(text) for name, text in BODIES.items()}, sys.stdout)
