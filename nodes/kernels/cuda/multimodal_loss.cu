// The fused loss of several heads over the same rows: src/multimodal_loss.rs says what it computes.
//
// The first two kernels give each row of each head to one warp. They are launched on blocks of whole warps, side by side
// (x: rows, y: heads), and write every row's share of the loss; multimodal_total_f32 adds the shares up in an order that
// depends on the sizes alone. Nothing is added atomically, so equal inputs give equal bits.
//
// The same text is compiled as C++ and run by the tests.

#define WARP 32
#define TOTAL_THREADS 256
#define ALL_LANES 0xffffffffu

// Both give every lane the same bits: the partners add the same two numbers.
template <class T> __device__ T warp_sum(T value) {
    for (int other = WARP / 2; other > 0; other /= 2) value += __shfl_xor_sync(ALL_LANES, value, other);
    return value;
}

// Like fmaxf, the other number if one is a NaN.
__device__ float warp_largest(float value) {
    for (int other = WARP / 2; other > 0; other /= 2) value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, other));
    return value;
}

// The row of this warp; it may lie behind the last one.
__device__ unsigned warp_row() { return blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; }

// scores: a pointer for each head to (rows, columns), overwritten with the gradient; shares: (heads, rows);
// head_weights: (heads,); classes: (rows,), each below columns; row_losses: (heads, rows).
extern "C" __global__ void multimodal_cross_entropy_f32(
    float *const *scores, const float *shares, const double *head_weights, const unsigned *classes, double *row_losses,
    const unsigned rows, const unsigned columns, const double label_smoothing) {
    const unsigned row = warp_row(), head = blockIdx.y, lane = threadIdx.x % WARP;
    if (row >= rows) return;
    float *x = scores[head] + (size_t)row * columns;
    const size_t place = (size_t)head * rows + row;
    const float share = shares[place], weight = (float)head_weights[head];
    if (share == 0.0f) {
        for (unsigned column = lane; column < columns; column += WARP) x[column] = 0.0f;
        if (lane == 0) row_losses[place] = 0.0;
        return;
    }
    const unsigned label = classes[row];
    float largest = -INFINITY;
    for (unsigned column = lane; column < columns; column += WARP) largest = fmaxf(largest, x[column]);
    largest = warp_largest(largest);

    double target = (double)x[label] - (double)largest, logits = 0.0;
    if (label_smoothing > 0.0) {
        for (unsigned column = lane; column < columns; column += WARP) logits += (double)x[column] - (double)largest;
        logits = warp_sum(logits);
        target *= 1.0 - label_smoothing;
    }
    __syncwarp(); // Every lane has read the label's logit before one overwrites it.

    float sum = 0.0f;
    for (unsigned column = lane; column < columns; column += WARP) {
        x[column] = expf(x[column] - largest);
        sum += x[column];
    }
    sum = warp_sum(sum);
    const float slope = share * weight, factor = slope / sum;
    const float everywhere = slope * (float)(label_smoothing / columns);
    for (unsigned column = lane; column < columns; column += WARP) {
        float gradient = x[column] * factor - everywhere;
        if (column == label) gradient -= slope * (float)(1.0 - label_smoothing);
        x[column] = weight == 0.0f ? 0.0f : gradient;
    }
    if (lane == 0) row_losses[place] = (double)share * (log((double)sum) - target - label_smoothing / columns * logits);
}

// As above; targets: (rows, columns). delta: where Huber's loss turns linear; 0 stands for the squared loss.
extern "C" __global__ void multimodal_residual_f32(
    float *const *scores, const float *shares, const double *head_weights, const float *targets, double *row_losses,
    const unsigned rows, const unsigned columns, const double delta) {
    const unsigned row = warp_row(), head = blockIdx.y, lane = threadIdx.x % WARP;
    if (row >= rows) return;
    float *x = scores[head] + (size_t)row * columns;
    const float *y = targets + (size_t)row * columns;
    const size_t place = (size_t)head * rows + row;
    const float share = shares[place], weight = (float)head_weights[head];
    double sum = 0.0;
    for (unsigned column = lane; column < columns; column += WARP) {
        const double difference = (double)(x[column] - y[column]), distance = fabs(difference);
        double cost, slope;
        if (delta == 0.0) {
            cost = difference * difference;
            slope = 2.0 * difference;
        } else if (distance > delta) {
            cost = delta * (distance - 0.5 * delta);
            slope = copysign(delta, difference);
        } else {
            cost = 0.5 * difference * difference;
            slope = difference;
        }
        sum += cost;
        x[column] = share == 0.0f || weight == 0.0f ? 0.0f : share * weight * (float)slope;
    }
    sum = warp_sum(sum);
    if (lane == 0) row_losses[place] = share == 0.0f ? 0.0 : (double)share * sum;
}

// One block of TOTAL_THREADS threads. losses: (heads,), each head's own; total: their sum by head_weights.
extern "C" __global__ void multimodal_total_f32(
    const double *row_losses, const double *head_weights, double *losses, float *total, const unsigned heads,
    const unsigned rows) {
    __shared__ double partial[TOTAL_THREADS];
    const unsigned thread = threadIdx.x;
    double weighted = 0.0;
    for (unsigned head = 0; head < heads; ++head) {
        double sum = 0.0;
        for (unsigned row = thread; row < rows; row += TOTAL_THREADS) sum += row_losses[(size_t)head * rows + row];
        partial[thread] = sum;
        __syncthreads();
        for (unsigned half = TOTAL_THREADS / 2; half > 0; half /= 2) {
            if (thread < half) partial[thread] += partial[thread + half];
            __syncthreads();
        }
        if (thread == 0) {
            losses[head] = partial[0];
            if (head_weights[head] != 0.0) weighted += head_weights[head] * partial[0];
        }
        __syncthreads(); // The first thread has read the sum before it is overwritten.
    }
    if (thread == 0) total[0] = (float)weighted;
}

// sum += factor[0] * summand, element by element.
extern "C" __global__ void add_scaled_f32(float *sum, const float *summand, const float *factor, const size_t length) {
    const size_t stride = (size_t)gridDim.x * blockDim.x;
    for (size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x; index < length; index += stride)
        sum[index] += factor[0] * summand[index];
}
