//! Work over many media side by side, on the rayon pool of the program.
//!
//! For plain bytes and numbers only: polars must not be called from `work`.

use rayon::prelude::*;

/// `work` of each item, in the order of the items, whatever the number of threads.
pub fn map<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    items.into_par_iter().map(work).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_stand_in_the_order_of_the_items() {
        let squares = super::map((0..1_000_u64).collect(), |number| number * number);
        assert_eq!(squares, (0..1_000).map(|number| number * number).collect::<Vec<u64>>());
    }
}
