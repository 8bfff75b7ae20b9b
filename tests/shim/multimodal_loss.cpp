// Runs the kernels of multimodal_loss.cu on numbers from the standard input and writes what they give to the standard output,
// in the machine's own byte order. The launches are those of nodes/kernels/src/cuda.rs.
#include "cuda_shim.h"

#include "multimodal_loss.cu"

#include <cstdio>
#include <cstdlib>

template <class T> std::vector<T> take(size_t count) {
    std::vector<T> values(count);
    if (std::fread(values.data(), sizeof(T), count, stdin) != count) {
        std::fputs("the input ends too early\n", stderr);
        std::exit(1);
    }
    return values;
}

template <class T> void give(const std::vector<T> &values) { std::fwrite(values.data(), sizeof(T), values.size(), stdout); }

enum Task : unsigned { CROSS_ENTROPY, RESIDUAL, ADD_SCALED };

int main() {
    const unsigned task = take<unsigned>(1)[0];
    if (task == ADD_SCALED) {
        const size_t length = take<unsigned>(1)[0];
        const auto factor = take<float>(1), summand = take<float>(length);
        auto sum = take<float>(length);
        launch({2, 1, 1}, 64, [&] { add_scaled_f32(sum.data(), summand.data(), factor.data(), length); });
        give(sum);
        return 0;
    }
    const auto sizes = take<unsigned>(3);
    const unsigned heads = sizes[0], rows = sizes[1], columns = sizes[2];
    const double parameter = take<double>(1)[0]; // Label smoothing or Huber's delta.
    const auto weights = take<double>(heads);
    const auto shares = take<float>(heads * rows);
    std::vector<double> row_losses(heads * rows), losses(heads);
    std::vector<float> total(1);
    auto scores = take<float>(heads * rows * columns);
    std::vector<float *> matrices;
    for (unsigned head = 0; head < heads; ++head) matrices.push_back(&scores[head * rows * columns]);

    const Dimensions grid = {(rows + 3) / 4, heads, 1};
    if (task == CROSS_ENTROPY) {
        const auto classes = take<unsigned>(rows);
        launch(grid, 4 * WARP, [&] {
            multimodal_cross_entropy_f32(
                matrices.data(), shares.data(), weights.data(), classes.data(), row_losses.data(), rows, columns, parameter);
        });
    } else {
        const auto targets = take<float>(rows * columns);
        launch(grid, 4 * WARP, [&] {
            multimodal_residual_f32(
                matrices.data(), shares.data(), weights.data(), targets.data(), row_losses.data(), rows, columns, parameter);
        });
    }
    launch({1, 1, 1}, TOTAL_THREADS, [&] {
        multimodal_total_f32(row_losses.data(), weights.data(), losses.data(), total.data(), heads, rows);
    });
    give(total);
    give(losses);
    give(scores);
    return 0;
}
