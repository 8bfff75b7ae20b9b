// Enough of CUDA to run a kernel on the CPU: a std::thread for each thread of a block, block after block.
//
// It shows what a kernel computes, and that its threads meet at every barrier. It knows nothing of a device's memory model,
// limits and speed.
#pragma once

#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__ static inline
#define __shared__ static // Seen by all threads of a block; blocks never run side by side.

struct Dimensions {
    unsigned x, y, z;
};

inline Dimensions gridDim, blockDim;
inline thread_local Dimensions blockIdx, threadIdx;

struct Block {
    std::barrier<> all;
    std::vector<std::unique_ptr<std::barrier<>>> warps;
    std::vector<uint64_t> exchanged; // One cell a thread.

    explicit Block(unsigned threads) : all(threads), exchanged(threads) {
        for (unsigned first = 0; first < threads; first += 32)
            warps.push_back(std::make_unique<std::barrier<>>(threads - first < 32 ? threads - first : 32));
    }
    std::barrier<> &warp() { return *warps[threadIdx.x / 32]; }
};

inline Block *running;

inline void __syncthreads() { running->all.arrive_and_wait(); }
inline void __syncwarp() { running->warp().arrive_and_wait(); }

template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    std::memcpy(&running->exchanged[threadIdx.x], &value, sizeof(T));
    __syncwarp();
    std::memcpy(&value, &running->exchanged[threadIdx.x ^ mask], sizeof(T));
    __syncwarp();
    return value;
}

// Calls `kernel` as a launch on a grid of blocks in two dimensions would.
template <class Kernel> void launch(Dimensions grid, unsigned threads, Kernel kernel) {
    gridDim = grid;
    blockDim = {threads, 1, 1};
    for (unsigned y = 0; y < grid.y; ++y) {
        for (unsigned x = 0; x < grid.x; ++x) {
            Block block(threads);
            running = &block;
            std::vector<std::thread> workers;
            for (unsigned thread = 0; thread < threads; ++thread) {
                workers.emplace_back([&, thread] {
                    blockIdx = {x, y, 0};
                    threadIdx = {thread, 0, 0};
                    kernel();
                    block.warp().arrive_and_drop(); // Nobody waits for a thread that has returned.
                    block.all.arrive_and_drop();
                });
            }
            for (std::thread &worker : workers) worker.join();
        }
    }
}
