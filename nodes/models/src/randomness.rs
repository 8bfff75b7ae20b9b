//! Streams of random numbers, each a function of a seed, a purpose and a number or name.
//!
//! ChaCha with 8 rounds, whose stream is fixed for ever; the mapping to numbers is our own for the same reason.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream is used for; streams of different purposes are unrelated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The first values of a parameter.
    Initial = 1,
    /// The order of the rows in an epoch.
    Order = 2,
    /// The dropout masks of an epoch.
    Dropout = 3,
}

/// A stream of random numbers.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream for the given number, such as an epoch.
    pub(crate) fn numbered(seed: u64, purpose: Purpose, number: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
        key[16..24].copy_from_slice(&number.to_le_bytes());
        Stream(ChaCha8Rng::from_seed(key))
    }

    /// The stream for the given name, by its FNV-1a hash.
    pub(crate) fn named(seed: u64, purpose: Purpose, name: &str) -> Self {
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self::numbered(seed, purpose, hash)
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to below 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The numbers below `count` in random order (Fisher and Yates).
    pub(crate) fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }

    /// A whole number below `bound`, each equally likely (Lemire 2019).
    fn below(&mut self, bound: u64) -> u64 {
        loop {
            let product = u128::from(self.bits()) * u128::from(bound);
            if product as u64 >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_the_same_every_time_and_differ_by_purpose_name_and_number() {
        let first = |mut stream: Stream| stream.bits();
        assert_eq!(first(Stream::named(1, Purpose::Initial, "a")), first(Stream::named(1, Purpose::Initial, "a")));
        let all = [
            first(Stream::named(1, Purpose::Initial, "a")),
            first(Stream::named(1, Purpose::Initial, "b")),
            first(Stream::named(2, Purpose::Initial, "a")),
            first(Stream::numbered(1, Purpose::Order, 1)),
            first(Stream::numbered(1, Purpose::Order, 2)),
            first(Stream::numbered(1, Purpose::Dropout, 1)),
        ];
        for (index, value) in all.iter().enumerate() {
            assert!(!all[..index].contains(value));
        }
    }

    #[test]
    fn an_order_holds_every_row_once() {
        let mut order = Stream::numbered(3, Purpose::Order, 1).order(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn every_place_is_equally_likely() {
        let mut counts = [0i32; 5];
        for number in 0..5_000 {
            counts[Stream::numbered(7, Purpose::Order, number).order(5)[0]] += 1;
        }
        // Five standard deviations of 5,000 draws at 1/5.
        assert!(counts.iter().all(|&count| (count - 1_000).abs() < 142), "{counts:?}");
    }

    #[test]
    fn uniform_numbers_have_the_mean_of_a_half() {
        let mut stream = Stream::numbered(7, Purpose::Initial, 0);
        let mean = (0..10_000).map(|_| stream.uniform()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.015, "{mean}");
    }
}
