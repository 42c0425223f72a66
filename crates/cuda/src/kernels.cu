// What lies between the matrix products of a decoder-only model, forward and backward; compiled for the device at start.
//
// bf16 travels as 16 bits and is computed in f32. DIM is the width of a head, GROUP the query heads per key head.
// Rows are tokens. Nothing here needs a header.

typedef unsigned short bf;

__device__ __forceinline__ float up(bf x) { return __uint_as_float((unsigned)x << 16); }
__device__ __forceinline__ bf down(float x) {
    unsigned u = __float_as_uint(x);
    return (bf)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
__device__ __forceinline__ float2 up2(unsigned x) {
    return make_float2(__uint_as_float(x << 16), __uint_as_float(x & 0xffff0000u));
}

__device__ __forceinline__ float warp_sum(float x) {
    for (int i = 16; i > 0; i >>= 1) x += __shfl_xor_sync(~0u, x, i);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
    for (int i = 16; i > 0; i >>= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
    return x;
}
// Over a block of at most 1024 threads; every thread gets the result.
__device__ __forceinline__ float block_sum(float x) {
    __shared__ float part[33];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    x = warp_sum(x);
    __syncthreads();
    if (lane == 0) part[warp] = x;
    __syncthreads();
    x = warp_sum(lane < (blockDim.x + 31) / 32 ? part[lane] : 0.f);
    return x;
}
__device__ __forceinline__ float block_max(float x) {
    __shared__ float part[33];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    x = warp_max(x);
    __syncthreads();
    if (lane == 0) part[warp] = x;
    __syncthreads();
    x = warp_max(lane < (blockDim.x + 31) / 32 ? part[lane] : -1e30f);
    return x;
}

extern "C" __global__ void embed(const bf* table, const int* ids, float* x, int d, float scale) {
    long row = blockIdx.x, id = ids[row];
    for (int i = threadIdx.x; i < d; i += blockDim.x) x[row * d + i] = up(table[id * d + i]) * scale;
}

extern "C" __global__ void embed_backward(const int* ids, const float* dx, float* dtable, int d, float scale) {
    long row = blockIdx.x, id = ids[row];
    for (int i = threadIdx.x; i < d; i += blockDim.x) atomicAdd(&dtable[id * d + i], dx[row * d + i] * scale);
}

extern "C" __global__ void rms(const float* x, const float* w, bf* y, float* scales, int d, float eps) {
    long row = blockIdx.x;
    x += row * d; y += row * d;
    float sum = 0.f;
    for (int i = threadIdx.x; i < d; i += blockDim.x) sum += x[i] * x[i];
    float scale = rsqrtf(block_sum(sum) / d + eps);
    if (threadIdx.x == 0) scales[row] = scale;
    for (int i = threadIdx.x; i < d; i += blockDim.x) y[i] = down(x[i] * scale * w[i]);
}

// Adds the gradient of x to dx and that of w to dw; dynamic shared memory of d floats.
extern "C" __global__ void rms_backward(const float* x, const float* w, const float* scales, const bf* dy, float* dx, float* dw, int d, int n) {
    extern __shared__ float sums[];
    for (int i = threadIdx.x; i < d; i += blockDim.x) sums[i] = 0.f;
    for (long row = blockIdx.x; row < n; row += gridDim.x) {
        const float* xr = x + row * d; const bf* dr = dy + row * d; float* out = dx + row * d;
        float scale = scales[row], dot = 0.f;
        for (int i = threadIdx.x; i < d; i += blockDim.x) dot += up(dr[i]) * w[i] * xr[i];
        float shrink = block_sum(dot) * scale * scale / d;
        for (int i = threadIdx.x; i < d; i += blockDim.x) {
            float g = up(dr[i]);
            sums[i] += g * xr[i] * scale;
            out[i] += scale * (g * w[i] - xr[i] * shrink);
        }
    }
    for (int i = threadIdx.x; i < d; i += blockDim.x) atomicAdd(&dw[i], sums[i]);
}

extern "C" __global__ void cast(const float* x, bf* y, long n) {
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < n; i += (long)gridDim.x * blockDim.x) y[i] = down(x[i]);
}

extern "C" __global__ void gated(const bf* gate_up, bf* out, int width, long n) {
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < n; i += (long)gridDim.x * blockDim.x) {
        long at = i / width * 2 * width + i % width;
        float g = up(gate_up[at]);
        out[i] = down(g / (1.f + __expf(-g)) * up(gate_up[at + width]));
    }
}

extern "C" __global__ void gated_backward(const bf* gate_up, const bf* dout, bf* grad, int width, long n) {
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < n; i += (long)gridDim.x * blockDim.x) {
        long at = i / width * 2 * width + i % width;
        float g = up(gate_up[at]), u = up(gate_up[at + width]), d = up(dout[i]);
        float s = 1.f / (1.f + __expf(-g));
        grad[at] = down(d * u * s * (1.f + g * (1.f - s)));
        grad[at + width] = down(d * g * s);
    }
}

// ---- attention over whole documents ----------------------------------------------------------------------------

// One thread per token, head and half of its elements. `angles` holds per position DIM/2 cosines, then as many sines.
extern "C" __global__ void split(const bf* qkv, const float* bias, const float* angles, const int* positions, bf* q, bf* k, bf* v,
                                 int heads, int groups, int len, float scale, long n) {
    long at = blockIdx.x * (long)blockDim.x + threadIdx.x;
    if (at >= n) return;
    int all = heads + 2 * groups, i = at % (DIM / 2), head = at / (DIM / 2) % all;
    long token = at / (DIM / 2) / all, batch = token / len, t = token % len, from = (token * all + head) * DIM + i;
    float low = up(qkv[from]), high = up(qkv[from + DIM / 2]);
    if (bias) { low += bias[head * DIM + i]; high += bias[head * DIM + DIM / 2 + i]; }
    if (head < heads + groups) {
        const float* row = angles + (long)positions[token] * DIM;
        float c = row[i], s = row[DIM / 2 + i], turned = low * c - high * s;
        high = high * c + low * s; low = turned;
    }
    if (head < heads) {
        q += ((batch * heads + head) * len + t) * DIM + i;
        q[0] = down(low * scale); q[DIM / 2] = down(high * scale);
    } else {
        bf* to = head < heads + groups ? k + ((batch * groups + head - heads) * len + t) * DIM + i
                                       : v + ((batch * groups + head - heads - groups) * len + t) * DIM + i;
        to[0] = down(low); to[DIM / 2] = down(high);
    }
}

extern "C" __global__ void merge(const bf* dq, const bf* dk, const bf* dv, const float* angles, const int* positions, bf* dqkv,
                                 int heads, int groups, int len, float scale, long n) {
    long at = blockIdx.x * (long)blockDim.x + threadIdx.x;
    if (at >= n) return;
    int all = heads + 2 * groups, i = at % (DIM / 2), head = at / (DIM / 2) % all;
    long token = at / (DIM / 2) / all, batch = token / len, t = token % len, to = (token * all + head) * DIM + i;
    const bf* from = head < heads ? dq + ((batch * heads + head) * len + t) * DIM + i
        : head < heads + groups ? dk + ((batch * groups + head - heads) * len + t) * DIM + i
                                : dv + ((batch * groups + head - heads - groups) * len + t) * DIM + i;
    float factor = head < heads ? scale : 1.f, low = up(from[0]) * factor, high = up(from[DIM / 2]) * factor;
    if (head < heads + groups) {
        const float* row = angles + (long)positions[token] * DIM;
        float c = row[i], s = row[DIM / 2 + i], turned = low * c + high * s;
        high = high * c - low * s; low = turned;
    }
    dqkv[to] = down(low); dqkv[to + DIM / 2] = down(high);
}

// [batch, heads, len, DIM] to [tokens, heads·DIM] and back.
extern "C" __global__ void to_rows(const bf* x, bf* y, int heads, int len, long n) {
    long at = blockIdx.x * (long)blockDim.x + threadIdx.x;
    if (at >= n) return;
    long i = at % DIM, t = at / DIM % len, head = at / DIM / len % heads, batch = at / DIM / len / heads;
    y[((batch * len + t) * heads + head) * DIM + i] = x[at];
}
extern "C" __global__ void to_heads(const bf* x, bf* y, int heads, int len, long n) {
    long at = blockIdx.x * (long)blockDim.x + threadIdx.x;
    if (at >= n) return;
    long i = at % DIM, t = at / DIM % len, head = at / DIM / len % heads, batch = at / DIM / len / heads;
    y[at] = x[((batch * len + t) * heads + head) * DIM + i];
}

// A block per row of scores [batch·heads·len, len], in place; a query sees the keys from starts[token] to itself.
// Padding starts behind itself: it sees nothing and gets zeros.
extern "C" __global__ void softmax(bf* scores, float* lse, const int* starts, int heads, int len) {
    long row = blockIdx.x, t = row % len, batch = row / len / heads;
    int from = starts[batch * len + t], to = t + 1;
    scores += row * len;
    float high = -1e30f, sum = 0.f;
    for (int c = from + threadIdx.x; c < to; c += blockDim.x) high = fmaxf(high, up(scores[c]));
    high = block_max(high);
    for (int c = from + threadIdx.x; c < to; c += blockDim.x) sum += __expf(up(scores[c]) - high);
    sum = block_sum(sum);
    float inverse = 1.f / sum;
    for (int c = threadIdx.x; c < len; c += blockDim.x)
        scores[c] = c >= from && c < to ? down(__expf(up(scores[c]) - high) * inverse) : (bf)0;
    if (threadIdx.x == 0) lse[row] = high + __logf(sum);
}

// Scores become probabilities, and the probabilities' gradients dp those of the scores, both in place.
extern "C" __global__ void softmax_backward(bf* scores, bf* dp, const float* lse, const float* delta, const int* starts, int heads, int len) {
    long row = blockIdx.x, t = row % len, batch = row / len / heads;
    int from = starts[batch * len + t];
    scores += row * len; dp += row * len;
    float shift = lse[row], d = delta[row];
    for (int c = threadIdx.x; c < len; c += blockDim.x) {
        bool seen = c >= from && c <= t;
        float p = seen ? __expf(up(scores[c]) - shift) : 0.f;
        float g = seen ? p * (up(dp[c]) - d) : 0.f;
        scores[c] = down(p); dp[c] = down(g);
    }
}

// The dot products of two arrays' rows of DIM elements; a warp each.
extern "C" __global__ void row_dots(const bf* a, const bf* b, float* out, long n) {
    long row = (blockIdx.x * (long)blockDim.x + threadIdx.x) / 32;
    if (row >= n) return;
    float sum = 0.f;
    for (int i = threadIdx.x & 31; i < DIM; i += 32) sum += up(a[row * DIM + i]) * up(b[row * DIM + i]);
    sum = warp_sum(sum);
    if ((threadIdx.x & 31) == 0) out[row] = sum;
}

// Column sums of [n, width], added to out.
extern "C" __global__ void column_sums(const bf* x, float* out, int width, int n) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= width) return;
    float sum = 0.f;
    for (long row = blockIdx.y; row < n; row += gridDim.y) sum += up(x[row * width + c]);
    atomicAdd(&out[c], sum);
}

// ---- loss and optimizer ----------------------------------------------------------------------------------------

extern "C" __global__ void gather_rows(const bf* x, const int* rows, bf* y, int d) {
    long row = blockIdx.x, from = rows[row];
    for (int i = threadIdx.x; i < d; i += blockDim.x) y[row * d + i] = x[from * d + i];
}
extern "C" __global__ void scatter_rows(const bf* x, const int* rows, bf* y, int d) {
    long row = blockIdx.x, to = rows[row];
    for (int i = threadIdx.x; i < d; i += blockDim.x) y[to * d + i] = x[row * d + i];
}

// A row of logits becomes factor · weight · (p − onehot) in place; losses gets weight · −log p(target).
extern "C" __global__ void cross_entropy(bf* logits, const int* ids, const float* weights, float* losses, int vocab, float factor) {
    long row = blockIdx.x;
    logits += row * vocab;
    float high = -1e30f, sum = 0.f;
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
        float x = up(logits[i]);
        if (x > high) { sum *= __expf(high - x); high = x; }
        sum += __expf(x - high);
    }
    float top = block_max(high);
    sum = block_sum(sum * __expf(high - top));
    int id = ids[row];
    float weight = weights[row], target = up(logits[id]);
    __syncthreads();
    if (threadIdx.x == 0) losses[row] = weight * (logf(sum) + top - target);
    float scale = weight * factor / sum;
    for (int i = threadIdx.x; i < vocab; i += blockDim.x)
        logits[i] = down(__expf(up(logits[i]) - top) * scale - (i == id ? weight * factor : 0.f));
}

extern "C" __global__ void square_sums(const float* x, float* parts, long n) {
    float sum = 0.f;
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < n; i += (long)gridDim.x * blockDim.x) sum += x[i] * x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

extern "C" __global__ void adamw(float* value, float* first, float* second, const float* gradient, bf* copy, long n,
                                 float scale, float keep, float step, float root, float new1, float old2, float new2, float eps) {
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < n; i += (long)gridDim.x * blockDim.x) {
        float g = gradient[i] * scale, m = first[i], s = second[i];
        m += (g - m) * new1;
        s = s * old2 + g * g * new2;
        float x = value[i] * keep - step * m / (sqrtf(s) / root + eps);
        first[i] = m; second[i] = s; value[i] = x; copy[i] = down(x);
    }
}

// ---- decoding --------------------------------------------------------------------------------------------------

// Rotates new keys and copies them and the values to their rows of the cache [rows, groups·DIM].
extern "C" __global__ void append(const bf* qkv, const float* bias, const float* angles, const int* positions, const int* places,
                                  bf* keys, bf* values, int heads, int groups, long n) {
    long at = blockIdx.x * (long)blockDim.x + threadIdx.x;
    if (at >= n) return;
    int i = at % (DIM / 2), group = at / (DIM / 2) % groups, all = heads + 2 * groups;
    long token = at / (DIM / 2) / groups, to = ((long)places[token] * groups + group) * DIM + i;
    const bf* k = qkv + (token * all + heads + group) * DIM + i;
    const bf* v = k + groups * DIM;
    float low = up(k[0]), high = up(k[DIM / 2]), vlow = up(v[0]), vhigh = up(v[DIM / 2]);
    if (bias) {
        const float* b = bias + (heads + group) * DIM + i;
        low += b[0]; high += b[DIM / 2];
        vlow += b[groups * DIM]; vhigh += b[groups * DIM + DIM / 2];
    }
    const float* row = angles + (long)positions[token] * DIM;
    float c = row[i], s = row[DIM / 2 + i];
    keys[to] = down(low * c - high * s); keys[to + DIM / 2] = down(high * c + low * s);
    values[to] = down(vlow); values[to + DIM / 2] = down(vhigh);
}

// Attention of one token and key group over its sequence's cache, whose last row is places[token] and whose length is
// positions[token] + 1. LANES threads share a key, eight elements each; every such team keeps a running softmax of its
// own, and they are put together at the end, so that keys and values are read once for all query heads of the group.
#define LANES (DIM / 8)
#define TEAMS (128 / LANES)
extern "C" __global__ void __launch_bounds__(128) attend(const bf* qkv, const float* bias, const float* angles, const int* positions,
                                  const int* places, const bf* keys, const bf* values, bf* out, int heads, int groups, float scale) {
    __shared__ float query[GROUP * DIM];
    __shared__ float state[TEAMS][GROUP][2];
    __shared__ float sought[TEAMS][DIM];
    int token = blockIdx.x, group = blockIdx.y, all = heads + 2 * groups, position = positions[token];
    const bf* q = qkv + ((long)token * all + group * GROUP) * DIM;
    const float* row = angles + (long)position * DIM;
    for (int at = threadIdx.x; at < GROUP * DIM / 2; at += 128) {
        int head = at / (DIM / 2), i = at % (DIM / 2);
        float low = up(q[head * DIM + i]), high = up(q[head * DIM + DIM / 2 + i]), c = row[i], s = row[DIM / 2 + i];
        if (bias) { const float* b = bias + (group * GROUP + head) * DIM + i; low += b[0]; high += b[DIM / 2]; }
        query[head * DIM + i] = (low * c - high * s) * scale;
        query[head * DIM + DIM / 2 + i] = (high * c + low * s) * scale;
    }
    __syncthreads();
    int team = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    float mine[GROUP][8], sum[GROUP], high[GROUP], acc[GROUP][8];
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
        sum[g] = 0.f; high[g] = -1e30f;
#pragma unroll
        for (int e = 0; e < 8; e++) { mine[g][e] = query[g * DIM + lane * 8 + e]; acc[g][e] = 0.f; }
    }
    long first = (long)places[token] - position, stride = (long)groups * DIM;
    const bf* k = keys + first * stride + group * DIM + lane * 8;
    const bf* v = values + first * stride + group * DIM + lane * 8;
    int rounds = (position + TEAMS) / TEAMS;
    for (int r = 0; r < rounds; r++) {
        int at = r * TEAMS + team;
        bool seen = at <= position;
        uint4 kk = make_uint4(0, 0, 0, 0), vv = kk;
        if (seen) { kk = *(const uint4*)(k + at * stride); vv = *(const uint4*)(v + at * stride); }
        float2 a = up2(kk.x), b = up2(kk.y), c = up2(kk.z), d = up2(kk.w);
        float2 va = up2(vv.x), vb = up2(vv.y), vc = up2(vv.z), vd = up2(vv.w);
#pragma unroll
        for (int g = 0; g < GROUP; g++) {
            float* m = mine[g];
            float dot = a.x * m[0] + a.y * m[1] + b.x * m[2] + b.y * m[3] + c.x * m[4] + c.y * m[5] + d.x * m[6] + d.y * m[7];
#pragma unroll
            for (int i = LANES / 2; i > 0; i >>= 1) dot += __shfl_xor_sync(~0u, dot, i);
            float top = seen ? fmaxf(high[g], dot) : high[g];
            float shrink = __expf(high[g] - top), p = seen ? __expf(dot - top) : 0.f;
            high[g] = top; sum[g] = sum[g] * shrink + p;
            float* o = acc[g];
            o[0] = o[0] * shrink + p * va.x; o[1] = o[1] * shrink + p * va.y;
            o[2] = o[2] * shrink + p * vb.x; o[3] = o[3] * shrink + p * vb.y;
            o[4] = o[4] * shrink + p * vc.x; o[5] = o[5] * shrink + p * vc.y;
            o[6] = o[6] * shrink + p * vd.x; o[7] = o[7] * shrink + p * vd.y;
        }
    }
    if (lane == 0) {
#pragma unroll
        for (int g = 0; g < GROUP; g++) { state[team][g][0] = high[g]; state[team][g][1] = sum[g]; }
    }
    __syncthreads();
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
        float top = -1e30f, total = 0.f;
        for (int i = 0; i < TEAMS; i++) top = fmaxf(top, state[i][g][0]);
        for (int i = 0; i < TEAMS; i++) total += state[i][g][1] * __expf(state[i][g][0] - top);
        float factor = __expf(high[g] - top) / total;
#pragma unroll
        for (int e = 0; e < 8; e++) sought[team][lane * 8 + e] = acc[g][e] * factor;
        __syncthreads();
        for (int i = threadIdx.x; i < DIM; i += 128) {
            float x = 0.f;
            for (int j = 0; j < TEAMS; j++) x += sought[j][i];
            out[((long)token * heads + group * GROUP + g) * DIM + i] = down(x);
        }
        __syncthreads();
    }
}

extern "C" __global__ void argmax(const bf* logits, int* best, int vocab) {
    __shared__ float values[32];
    __shared__ int places[32];
    logits += (long)blockIdx.x * vocab;
    float high = -1e38f;
    int place = 0;
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
        float x = up(logits[i]);
        if (x > high) { high = x; place = i; }
    }
    for (int i = 16; i > 0; i >>= 1) {
        float x = __shfl_xor_sync(~0u, high, i);
        int p = __shfl_xor_sync(~0u, place, i);
        if (x > high || (x == high && p < place)) { high = x; place = p; }
    }
    if ((threadIdx.x & 31) == 0) { values[threadIdx.x / 32] = high; places[threadIdx.x / 32] = place; }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < blockDim.x / 32; i++)
            if (values[i] > high || (values[i] == high && places[i] < place)) { high = values[i]; place = places[i]; }
        best[blockIdx.x] = place;
    }
}

// One token for each row of logits. The softmax at the row's temperature is cut to its top_k most probable tokens (0 is off)
// of at least min_p times the best one's probability, then to the most probable ones that reach top_p of what is left; of
// these, in the vocabulary's order, the one is taken at which the sum passes the share `at`. A temperature of 0 takes the
// first of the largest. Weights are between 0 and 1, so that their bits order as they do: each cut is found by bisection.
extern "C" __global__ void draw(const float* logits, const float* temperatures, const float* top_ps, const float* min_ps,
                                const int* top_ks, const float* ats, int* token, int vocab) {
    __shared__ float sums[1024];
    __shared__ int place;
    int row = blockIdx.x, thread = threadIdx.x;
    logits += (long)row * vocab;
    float temperature = temperatures[row], top_p = top_ps[row];
    int top_k = top_ks[row];
    float high = -1e30f;
    for (int i = thread; i < vocab; i += blockDim.x) high = fmaxf(high, logits[i]);
    high = block_max(high);
    if (thread == 0) place = vocab - 1;
    __syncthreads();
    if (temperature == 0.f) {
        for (int i = thread; i < vocab; i += blockDim.x)
            if (logits[i] == high) atomicMin(&place, i);
        __syncthreads();
        if (thread == 0) token[row] = place;
        return;
    }
    float scale = 1.f / temperature;
    auto weight = [&](int i) { return __expf((logits[i] - high) * scale); };
    auto mass = [&](float least, bool count) {
        float sum = 0.f;
        for (int i = thread; i < vocab; i += blockDim.x) {
            float w = weight(i);
            if (w >= least) sum += count ? 1.f : w;
        }
        return block_sum(sum);
    };
    // The largest weight down to which the tokens reach `wanted`.
    auto cut = [&](float least, float wanted, bool count) {
        unsigned low = __float_as_uint(least), top = __float_as_uint(1.f);
        while (low < top) {
            unsigned middle = low + (top - low + 1) / 2;
            if (mass(__uint_as_float(middle), count) >= wanted) low = middle; else top = middle - 1;
        }
        return __uint_as_float(low);
    };
    float least = fmaxf(min_ps[row], 1e-13f);
    if (top_k > 0 && mass(least, true) > top_k) least = cut(least, (float)top_k, true);
    if (top_p < 1.f) least = cut(least, mass(least, false) * top_p, false);
    // Each thread sums a run of the vocabulary; the first run that passes the share holds the token.
    int run = (vocab + blockDim.x - 1) / blockDim.x, from = thread * run, to = min(from + run, vocab);
    float own = 0.f;
    for (int i = from; i < to; i++) {
        float w = weight(i);
        if (w >= least) own += w;
    }
    sums[thread] = own;
    __syncthreads();
    if (thread != 0) return;
    float total = 0.f;
    for (int i = 0; i < blockDim.x; i++) total += sums[i];
    float left = ats[row] * total;
    int chosen = 0;
    bool passed = false;
    for (int i = 0; i < blockDim.x && !passed; i++) {
        if (sums[i] <= 0.f) continue;
        chosen = i;
        passed = left < sums[i];
        if (!passed) left -= sums[i];
    }
    // Rounding may leave the share beyond the last token, which is taken then.
    int found = vocab - 1;
    for (int i = chosen * run; i < min((chosen + 1) * run, vocab); i++) {
        float w = weight(i);
        if (w < least) continue;
        found = i;
        if (passed && left < w) break;
        left -= w;
    }
    token[row] = found;
}
