//! The fused loss on an NVIDIA device, by the kernels of `cuda/multimodal_loss.cu`.
//!
//! What holds here without a device is said in the book, under "Devices".
#![allow(unsafe_code, reason = "a kernel's launch cannot be checked")]

use std::sync::Arc;

use cudarc::driver::{CudaDevice, CudaFunction, DevicePtr, DeviceSlice, LaunchAsync, LaunchConfig};
use cudarc::nvrtc::Ptx;
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Cuda, CudaError, Storage, Tensor, ZerosTensor};
use dfdx::tensor_ops::{Momentum, SgdConfig, WeightDecay};

use crate::{
    Buffer, Buffers, HeadRows, KernelError, LossHead, LossTargets, LossesAndGradients, MultimodalLoss,
    MultimodalLossKernel, OwnedTape, Residual, multimodal_loss,
};

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/multimodal_loss.ptx"));

const MODULE: &str = "multimodal_loss";
const CROSS_ENTROPY: &str = "multimodal_cross_entropy_f32";
const RESIDUAL: &str = "multimodal_residual_f32";
const TOTAL: &str = "multimodal_total_f32";
const ADD_SCALED: &str = "add_scaled_f32";

/// Threads that share a row.
const WARP: u32 = 32;
/// Rows of one block: a warp each.
const ROWS: u32 = 4;
/// Threads of the one block that adds up; the kernel's `TOTAL_THREADS`.
const TOTAL_THREADS: u32 = 256;
/// Threads of a block that works element by element.
const ELEMENTS: u32 = 256;
/// Blocks beyond this many take turns.
const LARGEST_GRID: usize = 65_535;

fn function(device: &Arc<CudaDevice>, name: &'static str) -> Result<CudaFunction, CudaError> {
    if !device.has_func(MODULE, name) {
        device.load_ptx(Ptx::from_src(PTX), MODULE, &[CROSS_ENTROPY, RESIDUAL, TOTAL, ADD_SCALED])?;
    }
    Ok(device.get_func(MODULE, name).expect("the module was loaded with all its kernels"))
}

/// dfdx keeps a tensor's storage to itself on a device too. Its step of gradient descent does not: with the right numbers
/// it copies a parameter into the velocity, or a gradient into the parameter, without leaving the device.
impl Buffers<f32> for Cuda {
    fn read<S: Shape>(&self, tensor: &Tensor<S, f32, Self>) -> Result<Buffer<f32, Self>, CudaError> {
        let length = tensor.shape().num_elements();
        let mut values = <Cuda as Storage<f32>>::try_alloc_len(self, length)?;
        if length > 0 {
            // velocity = 0 · velocity + (0 + 1 · parameter); parameter -= 0 · velocity, on a copy.
            let zeros = <Cuda as Storage<f32>>::try_alloc_len(self, length)?;
            let (momentum, weight_decay) = (Some(Momentum::Classic(0.0)), Some(WeightDecay::L2(1.0)));
            SgdConfig { lr: 0.0, momentum, weight_decay }.try_update(&mut tensor.clone(), &mut values, &zeros)?;
        }
        Ok(values)
    }

    fn tensor_of<S: Shape>(&self, values: Buffer<f32, Self>, shape: S) -> Result<Tensor<S, f32, Self>, CudaError> {
        let mut tensor = self.try_zeros_like(&shape)?;
        if values.len() > 0 {
            // parameter = 0 - (-1) · gradient.
            let mut velocity = <Cuda as Storage<f32>>::try_alloc_len(self, values.len())?;
            SgdConfig { lr: -1.0, momentum: None, weight_decay: None }.try_update(
                &mut tensor,
                &mut velocity,
                &values,
            )?;
        }
        Ok(tensor)
    }

    fn upload(&self, values: Vec<f32>) -> Result<Buffer<f32, Self>, CudaError> {
        let mut buffer = <Cuda as Storage<f32>>::try_alloc_len(self, values.len())?;
        if !values.is_empty() {
            buffer.device().htod_copy_into(values, &mut buffer)?;
        }
        Ok(buffer)
    }

    fn download(&self, buffer: Buffer<f32, Self>) -> Result<Vec<f32>, CudaError> {
        let mut values = vec![0.0; buffer.len()];
        if !values.is_empty() {
            buffer.device().dtoh_sync_copy_into(&buffer, &mut values)?;
        }
        Ok(values)
    }

    fn add_scaled(
        &self,
        sum: &mut Buffer<f32, Self>,
        summand: &Buffer<f32, Self>,
        factor: &Buffer<f32, Self>,
    ) -> Result<(), CudaError> {
        let length = summand.len();
        if length == 0 {
            return Ok(());
        }
        let blocks = length.div_ceil(ELEMENTS as usize).min(LARGEST_GRID) as u32;
        let configuration = LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (ELEMENTS, 1, 1), shared_mem_bytes: 0 };
        let add = function(&summand.device(), ADD_SCALED)?;
        // SAFETY: the arguments are those of `add_scaled_f32`, which stays below `length` in both operands.
        unsafe { add.launch(configuration, (sum, summand, factor, length)) }?;
        Ok(())
    }
}

impl MultimodalLossKernel<f32> for Cuda {
    /// Two launches whatever the number of heads. The heads' losses come to the host, so the call waits for the device.
    fn multimodal_loss(
        &self,
        columns: usize,
        heads: Vec<HeadRows<f32, Buffer<f32, Self>>>,
        targets: LossTargets<'_, f32>,
    ) -> Result<LossesAndGradients<Buffer<f32, Self>>, CudaError> {
        let mut total = <Cuda as Storage<f32>>::try_alloc_len(self, 1)?;
        let rows = heads.first().map_or(0, |head| head.shares.len());
        let count = heads.len();
        if rows * columns == 0 {
            let gradients = heads.into_iter().map(|head| head.scores).collect();
            return Ok(LossesAndGradients { total, heads: vec![0.0; count], gradients });
        }
        let device = total.device();
        let weights = device.htod_copy(heads.iter().map(|head| head.weight).collect())?;
        let shares = device.htod_copy(heads.iter().flat_map(|head| head.shares.iter().copied()).collect())?;
        let scores = device.htod_copy(heads.iter().map(|head| *head.scores.device_ptr()).collect())?;
        let mut row_losses = device.alloc_zeros::<f64>(count * rows)?;
        let mut losses = device.alloc_zeros::<f64>(count)?;

        let configuration = LaunchConfig {
            grid_dim: ((rows as u32).div_ceil(ROWS), count as u32, 1),
            block_dim: (ROWS * WARP, 1, 1),
            shared_mem_bytes: 0,
        };
        let sizes = (rows as u32, columns as u32);
        match targets {
            LossTargets::Classes(targets) => {
                let classes = device.htod_copy(targets.classes.to_vec())?;
                let smoothing = targets.label_smoothing;
                let arguments = (&scores, &shares, &weights, &classes, &mut row_losses, sizes.0, sizes.1, smoothing);
                // SAFETY: the arguments are those of the kernel. `scores` points to one matrix of `rows` and `columns` per
                // head, which `heads` owns and nobody else sees; shares, classes and losses are as long as it expects, and
                // each class has been checked.
                unsafe { function(&device, CROSS_ENTROPY)?.launch(configuration, arguments) }?;
            }
            LossTargets::Values(targets) => {
                let values = device.htod_copy(targets.targets.to_vec())?;
                let delta = match targets.residual {
                    Residual::Squared => 0.0,
                    Residual::Huber { delta } => delta,
                };
                let arguments = (&scores, &shares, &weights, &values, &mut row_losses, sizes.0, sizes.1, delta);
                // SAFETY: as above; `values` has the size of one head's scores.
                unsafe { function(&device, RESIDUAL)?.launch(configuration, arguments) }?;
            }
        }
        let configuration = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (TOTAL_THREADS, 1, 1), shared_mem_bytes: 0 };
        let arguments = (&row_losses, &weights, &mut losses, &mut total, count as u32, sizes.0);
        // SAFETY: the arguments are those of the kernel, which runs as the one block it is written for.
        unsafe { function(&device, TOTAL)?.launch(configuration, arguments) }?;
        let losses = device.dtoh_sync_copy(&losses)?;
        Ok(LossesAndGradients { total, heads: losses, gradients: heads.into_iter().map(|head| head.scores).collect() })
    }
}

type Recorded = OwnedTape<f32, Cuda>;
type Operation = fn(
    &Cuda,
    Vec<LossHead<'_, f32, Cuda, Recorded>>,
    LossTargets<'_, f32>,
) -> Result<MultimodalLoss<f32, Cuda, Recorded>, KernelError>;

// The whole operation stands on the device, its backward pass included.
const _: Operation = multimodal_loss;
