//! Where randomness comes from.

use serde::{Deserialize, Serialize};

use crate::{Digest, Hasher};

/// A seed; every use derives its own, so that no two uses share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(u64);

impl Seed {
    /// The seed a person wrote.
    pub const fn new(value: u64) -> Seed {
        Seed(value)
    }

    /// The number.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The seed for one use, named by `purpose`.
    pub fn derive(self, purpose: &str) -> Seed {
        Seed::first_bytes(
            &Hasher::new("fuseline.seed.v1").field(&self.0.to_le_bytes()).field(purpose.as_bytes()).finish(),
        )
    }

    /// The seed of a task: the pipeline's seed and the task's fingerprint, never its id or the schedule.
    pub fn for_task(self, fingerprint: &Digest) -> Seed {
        Seed::first_bytes(
            &Hasher::new("fuseline.seed.task.v1").field(&self.0.to_le_bytes()).digest(fingerprint).finish(),
        )
    }

    fn first_bytes(digest: &Digest) -> Seed {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest.as_bytes()[..8]);
        Seed(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_do_not_share_a_seed() {
        assert_ne!(Seed::new(1).derive("shuffle"), Seed::new(1).derive("dropout"));
        assert_eq!(Seed::new(1).derive("shuffle"), Seed::new(1).derive("shuffle"));
        assert_ne!(Seed::new(1).derive("shuffle"), Seed::new(2).derive("shuffle"));
    }
}
