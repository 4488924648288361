// Histograms of each pixel over many frames, and percentiles of them: what the flat field is fitted to.
#include "common.cuh"

// T is the type of a body's input, frames or histograms; COUNT is the type of its output.

constexpr int THREADS = 256;
// A block owns 16 neighbouring pixels, one 32-byte sector of uint16, and 16 threads share a pixel's frames.
// A pixel's counters lie 16 words apart: at most two of the 32 threads of a warp then meet in a bank.
constexpr int PIXELS = 16, LANES = THREADS / PIXELS;

// Tests first <= v < stop with one comparison.
struct Range {
    unsigned first, span;
    bool any;

    __device__ Range(int64 from, int64 stop) {
        const int64 low = max(from, (int64)0), high = min(stop, (int64)1 << 32) - 1;
        any = low <= high;
        first = (unsigned)low;
        span = any ? (unsigned)(high - low) : 0;
    }
    __device__ bool holds(unsigned value) const { return value - first <= span; }
};

// value / values_per_bin. For 16 bits a product replaces the division, exactly: value * (width * factor - 2^32) < 2^32.
struct Bins {
    unsigned width;
    unsigned long long factor;

    __device__ explicit Bins(int64 values_per_bin) {
        constexpr int64 most = sizeof(T) <= 2 ? (int64)1 << 16 : ((int64)1 << 32) - 1;
        width = (unsigned)min(values_per_bin, most);
        factor = (((unsigned long long)1 << 32) + width - 1) / width;
        if (sizeof(T) > 2 && values_per_bin > most) width = 0;
    }
    __device__ unsigned of(unsigned value) const {
        if constexpr (sizeof(T) <= 2) return (unsigned)(value * factor >> 32);
        else return width ? value / width : 0;
    }
};

// Calls use(value) for frames first, first + STRIDE, ... of a pixel; eight reads overlap.
template <int STRIDE, typename Use>
__device__ inline void for_values(const T* pixel, int64 frame_size, int64 first, int64 stop, Use use) {
    constexpr int batch = 8;
    const int64 jump = STRIDE * frame_size;
    const T* at = pixel + first * frame_size;
    unsigned values[batch];
    int left = (int)((stop - first + STRIDE - 1) / STRIDE);
    for (; left >= batch; left -= batch) {
#pragma unroll
        for (int k = 0; k < batch; ++k, at += jump) values[k] = *at;
#pragma unroll
        for (int k = 0; k < batch; ++k) use(values[k]);
    }
#pragma unroll
    for (int k = 0; k < batch - 1; ++k, at += jump) values[k] = k < left ? *at : 0;
#pragma unroll
    for (int k = 0; k < batch - 1; ++k) {
        if (k < left) use(values[k]);
    }
}

constexpr int HALF = 512, CHUNK = 2 * HALF;
constexpr int MOST_FRAMES = 65535;  // a counter has 16 bits

// Adds a block's counters to the histograms of its pixels; a warp writes whole sectors, 8 bins of 4 pixels.
__device__ inline void add_counters(const unsigned* counters, COUNT* out, int64 n_bins) {
    const int part = threadIdx.x % 8, quarter = threadIdx.x / 8 % 4, warp = threadIdx.x / 32;
    for (int bin = warp * 8 + part; bin < HALF; bin += THREADS / 4) {
        for (int pixel = quarter; pixel < PIXELS; pixel += 4) {
            const unsigned word = counters[bin * PIXELS + pixel], low = word & 0xffff, high = word >> 16;
            COUNT* mine = out + pixel * n_bins + bin;
            if (low) mine[0] = (COUNT)(mine[0] + low);
            if (high) mine[HALF] = (COUNT)(mine[HALF] + high);
        }
    }
}

// A block counts 1024 bins of 16 pixels in shared memory, bins b and b + 512 in the halves of one word. Then the block
// adds nonzero counts to global memory. Other blocks take further bins. Runs of frames are as long as 16 bits can
// count.
extern "C" __global__ void __launch_bounds__(THREADS) histogram(
    const T* frames, long long n_frames, long long rows, long long columns, COUNT* out, long long out_rows,
    long long out_columns, long long n_bins, long long background, long long values_per_bin) {
    __shared__ unsigned counters[HALF * PIXELS];
    const int64 n_chunks = (n_bins + CHUNK - 1) / CHUNK, groups = (columns + PIXELS - 1) / PIXELS;
    const int64 first_bin = blockIdx.x % n_chunks * CHUNK, y = blockIdx.x / n_chunks / groups;
    const int64 first_x = blockIdx.x / n_chunks % groups * PIXELS;
    const int pixel = threadIdx.x % PIXELS, lane = threadIdx.x / PIXELS;
    const bool inside = first_x + pixel < columns;
    const T* mine = frames + y * columns + (inside ? first_x + pixel : 0);
    const Range range(
        max((int64)background, first_bin * values_per_bin), min(first_bin + CHUNK, (int64)n_bins) * values_per_bin);
    const Bins bins(values_per_bin);

    for (int64 start = 0; start < n_frames; start += MOST_FRAMES) {
        for (int i = threadIdx.x; i < HALF * PIXELS; i += THREADS) counters[i] = 0;
        __syncthreads();
        if (inside && range.any) {
            const int64 stop = min(start + MOST_FRAMES, (int64)n_frames);
            for_values<LANES>(mine, rows * columns, start + lane, stop, [&](unsigned value) {
                if (!range.holds(value)) return;
                const unsigned bin = bins.of(value) - (unsigned)first_bin;
                atomicAdd(&counters[bin % HALF * PIXELS + pixel], bin < HALF ? 1u : 1u << 16);
            });
        }
        __syncthreads();
        add_counters(counters, out + (y * columns + first_x) * n_bins + first_bin, n_bins);
        __syncthreads();
    }
}

constexpr int COLUMNS = 32;

// A block takes 32 pixels of a row, each warp an eighth of the frames: few pixels of many frames still fill the device.
extern "C" __global__ void __launch_bounds__(THREADS) count_between(
    const T* frames, long long n_frames, long long rows, long long columns, int* out, long long out_rows,
    long long out_columns, long long first, long long stop) {
    constexpr int lanes = THREADS / COLUMNS;
    __shared__ int sums[THREADS];
    const int64 groups = (columns + COLUMNS - 1) / COLUMNS, y = blockIdx.x / groups;
    const int64 x = blockIdx.x % groups * COLUMNS + threadIdx.x % COLUMNS;
    const Range range(first, stop);
    int sum = 0;
    if (x < columns && range.any) {
        const T* mine = frames + y * columns + x;
        for_values<lanes>(mine, rows * columns, threadIdx.x / COLUMNS, n_frames, [&](unsigned value) {
            sum += range.holds(value);
        });
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x < COLUMNS && x < columns) {
        for (int lane = 1; lane < lanes; ++lane) sum += sums[lane * COLUMNS + threadIdx.x];
        out[y * columns + x] = sum;
    }
}

constexpr int DIGIT_BITS = 8, MOST_DIGITS = 1 << DIGIT_BITS;

// Cuts the numbers of bins 0 ... last_bin into digits of one width, at most 8 bits.
struct Digits {
    int width, count, passes;

    __device__ explicit Digits(int64 last_bin) {
        int bits = 1;
        while (last_bin >> bits) ++bits;
        passes = (bits + DIGIT_BITS - 1) / DIGIT_BITS;
        width = (bits + passes - 1) / passes;
        count = 1 << width;
    }
};

// A thread's share of a pixel's counters; a pixel has one counter for each digit.
struct Part {
    int sum, last;  // last digit with a count, -1 if there is none
};

// The first digit at which the running count reaches target: the count before the digit, the count with the digit, and
// the last digit before it with a count (-1: none).
struct Found {
    bool here;  // by this thread
    int digit, before, count, filled;
};

// Finds that digit for a thread's pixel; before is the count before all digits. All threads of the block call it.
__device__ inline Found digit_reaching(double target, const unsigned* counters, int n_digits, Part* parts, int before) {
    const int pixel = threadIdx.x % PIXELS, lane = threadIdx.x / PIXELS, length = max(1, n_digits / LANES);
    const int first = min(lane * length, n_digits), stop = min(first + length, n_digits);
    Part mine = {0, -1};
    for (int digit = first; digit < stop; ++digit) {
        const int count = counters[digit * PIXELS + pixel];
        mine.sum += count;
        if (count) mine.last = digit;
    }
    parts[threadIdx.x] = mine;
    __syncthreads();
    for (int l = 0; l < lane; ++l) before += parts[l * PIXELS + pixel].sum;
    Found found = {before < target && target <= before + mine.sum, first, before, 0, -1};
    if (!found.here) return found;
    for (;; ++found.digit) {
        found.count = counters[found.digit * PIXELS + pixel];
        if (found.before + found.count >= target) break;
        if (found.count) found.filled = found.digit;
        found.before += found.count;
    }
    for (int l = lane - 1; l >= 0 && found.filled < 0; --l) found.filled = parts[l * PIXELS + pixel].last;
    return found;
}

// Selection by the digits of the bin's number, the highest first: each pass over the frames counts how often each digit
// follows the known digits. The 10 bits of 1024 bins take two passes of 5 bits. In the second pass a block's values are
// still in the L2 cache. The last pass also finds the greatest value below all values with the known digits.
extern "C" __global__ void __launch_bounds__(THREADS) percentile_bin(
    const T* frames, long long n_frames, long long rows, long long columns, const int* count, long long count_rows,
    long long count_columns, int* out, long long out_rows, long long out_columns, double percentile, long long n_bins,
    long long values_per_bin, long long background) {
    __shared__ unsigned counters[MOST_DIGITS * PIXELS], below[THREADS], known[PIXELS];
    __shared__ Part parts[THREADS];
    __shared__ int reached[PIXELS];
    const int64 groups = (columns + PIXELS - 1) / PIXELS, y = blockIdx.x / groups;
    const int pixel = threadIdx.x % PIXELS, lane = threadIdx.x / PIXELS;
    const int64 x = blockIdx.x % groups * PIXELS + pixel, place = y * columns + x, n_values = (int64)1 << 8 * sizeof(T);
    const bool inside = x < columns;
    const double target = inside ? percentile * count[place] / 100 : 0;
    const Bins bins(values_per_bin);
    const int64 last_bin = min((int64)n_bins, (n_values + values_per_bin - 1) / values_per_bin) - 1;
    const Digits digits(last_bin);
    if (lane == 0) {
        known[pixel] = 0, reached[pixel] = 0;
        if (inside) out[place] = target > 0 ? (int)last_bin : 0;
    }
    for (int shift = (digits.passes - 1) * digits.width; shift >= 0; shift -= digits.width) {
        for (int i = threadIdx.x; i < digits.count * PIXELS; i += THREADS) counters[i] = 0;
        __syncthreads();
        const unsigned prefix = known[pixel] << digits.width;
        const int before = reached[pixel];
        const int64 first_bin = (int64)prefix << shift, end_bin = first_bin + ((int64)digits.count << shift);
        const Range range(
            max((int64)background, first_bin * values_per_bin), min(end_bin, (int64)n_bins) * values_per_bin);
        unsigned greatest = 0;
        if (inside && range.any) {
            for_values<LANES>(frames + place, rows * columns, lane, n_frames, [&](unsigned value) {
                if (range.holds(value)) {
                    atomicAdd(&counters[(bins.of(value) >> shift) % digits.count * PIXELS + pixel], 1u);
                } else if (value < range.first) {
                    greatest = max(greatest, value);
                }
            });
        }
        below[threadIdx.x] = greatest;
        __syncthreads();
        const Found found = digit_reaching(target, counters, digits.count, parts, before);
        if (found.here && shift > 0) known[pixel] = prefix | found.digit, reached[pixel] = found.before;
        if (found.here && shift == 0) {
            for (int l = 0; l < LANES; ++l) greatest = max(greatest, below[l * PIXELS + pixel]);
            const unsigned lower = found.filled < 0 ? bins.of(greatest) : prefix | found.filled;
            const bool is_lower = target - found.before <= found.before + found.count - target;
            out[place] = (int)(!is_lower ? prefix | found.digit : found.before > 0 ? lower : 0);
        }
        __syncthreads();
    }
}

constexpr int WARP = 32, RUN = 4 * WARP;

__device__ inline int64 sum_of_warp(int64 value) {
    for (int distance = WARP / 2; distance; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

// Last bin with a count among first <= bin < stop; -1 if there is none. All threads of a warp call it.
__device__ inline int64 last_filled(const T* counts, int64 first, int64 stop, int lane) {
    for (int64 start = stop - WARP; start > first - WARP; start -= WARP) {
        const int64 bin = start + lane;
        const unsigned filled = __ballot_sync(0xffffffffu, bin >= first && counts[bin] != 0);
        if (filled) return start + WARP - 1 - __clz((int)filled);
    }
    return -1;
}

// A warp takes one pixel. The warp sums all bins, then runs of 128 until the sum reaches the target. Last come only the
// bins of that run. Neighbouring threads read neighbouring bins; the second reading finds a pixel's few kilobytes in
// the cache.
extern "C" __global__ void __launch_bounds__(THREADS) histogram_percentile(
    const T* counts, long long rows, long long columns, long long n_bins, int* out, long long out_rows,
    long long out_columns, double percentile) {
    const int64 place = thread_number() / WARP;
    const int lane = threadIdx.x % WARP;
    if (place >= rows * columns) return;  // the whole warp returns
    const T* mine = counts + place * n_bins;
    int64 sum = 0;
    for (int64 bin = lane; bin < n_bins; bin += WARP) sum += mine[bin];
    const double target = percentile * sum_of_warp(sum) / 100;

    int64 before = 0, filled_run = -1, start = 0;
    for (;; start += RUN) {
        int64 part = 0;
        for (int64 bin = start + lane; bin < min(start + RUN, (int64)n_bins); bin += WARP) part += mine[bin];
        const int64 run = sum_of_warp(part);
        if (before + run >= target || start + RUN >= n_bins) break;
        if (run) filled_run = start;
        before += run;
    }
    int64 bin = start, here = mine[bin];
    while (before + here < target && bin + 1 < n_bins) before += here, here = mine[++bin];
    int64 lower = 0;
    if (before > 0) {
        lower = last_filled(mine, start, bin, lane);
        if (lower < 0) lower = last_filled(mine, filled_run, filled_run + RUN, lane);
    }
    if (lane == 0) out[place] = (int)(target - before <= before + here - target ? lower : bin);
}
