//! What a forward pass is for: training, with dropout, or inference, without.

use std::cell::RefCell;

use nodes_kernels::Dropout;

use crate::randomness::{Purpose, Stream};

/// One forward pass through a model.
pub(crate) enum Pass {
    Inference,
    Training(Box<DropoutKeys>),
}

/// Keys for the dropout masks of one pass: each layer that asks gets the next.
pub(crate) struct DropoutKeys(RefCell<Stream>);

impl Pass {
    /// The pass over one batch of training. The keys depend on the seed, the epoch and the batch.
    pub(crate) fn training(seed: u64, epoch: usize, batch: usize) -> Self {
        let number = (epoch as u64) << 32 | batch as u64;
        Pass::Training(Box::new(DropoutKeys(RefCell::new(Stream::numbered(seed, Purpose::Dropout, number)))))
    }

    /// The dropout of one layer; none outside training or at rate zero.
    pub(crate) fn dropout(&self, rate: f64) -> Option<Dropout> {
        match self {
            Pass::Training(keys) if rate > 0.0 => Some(Dropout::new(rate, keys.0.borrow_mut().bits())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_differ_by_layer_batch_and_epoch_and_repeat_otherwise() {
        let masks = |epoch, batch| {
            let pass = Pass::training(1, epoch, batch);
            [pass.dropout(0.5), pass.dropout(0.5)]
        };
        let all = [masks(1, 1), masks(1, 2), masks(2, 1)].concat();
        for (index, mask) in all.iter().enumerate() {
            assert!(!all[..index].contains(mask));
        }
        assert_eq!(masks(1, 1), masks(1, 1));
    }

    #[test]
    fn nothing_is_dropped_in_inference_or_at_rate_zero() {
        assert_eq!(Pass::Inference.dropout(0.5), None);
        assert_eq!(Pass::training(1, 1, 1).dropout(0.0), None);
    }
}
