//! Polars on the calling thread alone.
//!
//! What polars computes depends on how many threads its pool has: a sum over one chunk is cut into as many pieces as
//! there are threads, and float sums then differ in their last bits. A thread that called [`solo`] runs every polars
//! operation by itself, so that its results are the same on every machine and for every `--threads`.

use polars_async::executor::ALLOW_RAYON_THREADS;

/// Makes polars run on the calling thread alone, from now on.
///
/// For plain threads only: inside a rayon worker polars would panic (`CurrentThreadAlreadyInPool`). The workers of
/// `engine-exec` and whatever else touches rows call it first.
pub fn solo() {
    ALLOW_RAYON_THREADS.set(false);
}

#[cfg(test)]
mod tests {
    use engine_core::Digest;
    use polars::prelude::*;

    use super::*;
    use crate::column_digest;

    /// Bits of a sum and of grouped sums over floats whose sum depends on the order.
    fn digests() -> Vec<Digest> {
        let rows = 300_000_u64;
        let value = |row: u64| {
            let bits = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
            bits as f64 * 1e-9 * if row.is_multiple_of(2) { 1.0 } else { -1.0 }
        };
        let frame = df![
            "group" => (0..rows).map(|row| (row % 7) as i64).collect::<Vec<i64>>(),
            "value" => (0..rows).map(value).collect::<Vec<f64>>()
        ]
        .unwrap();
        let grouped = frame
            .clone()
            .lazy()
            .filter(col("value").neq(lit(0.0)))
            .group_by([col("group")])
            .agg([col("value").sum()])
            .sort(["group"], SortMultipleOptions::default())
            .collect()
            .unwrap();
        let sum = frame.lazy().select([col("value").sum()]).collect().unwrap();
        [&grouped, &sum]
            .into_iter()
            .flat_map(|frame| frame.columns())
            .map(|column| column_digest(column.as_materialized_series()))
            .collect()
    }

    fn on_a_solo_thread<T: Send + 'static>(work: fn() -> T) -> T {
        let thread = std::thread::spawn(move || {
            solo();
            work()
        });
        thread.join().unwrap()
    }

    #[test]
    fn a_solo_thread_computes_the_same_bits_as_a_pool_of_one() {
        // The pool's size can only be set before polars is first used, and from the environment: by another process.
        const CHILD: &str = "FUSELINE_SOLO_TEST_PRINT";
        #[allow(clippy::disallowed_methods)] // How this test tells its child what to do.
        let is_child = std::env::var(CHILD).is_ok();
        if is_child {
            println!("digests {:?}", on_a_solo_thread(digests));
            return;
        }
        let name = "solo::tests::a_solo_thread_computes_the_same_bits_as_a_pool_of_one";
        let child = |threads: &str| {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(CHILD, "1")
                .env("POLARS_MAX_THREADS", threads)
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let at = text.find("digests ").expect("the child prints its digests");
            text[at..].lines().next().unwrap().to_owned()
        };
        let here = format!("digests {:?}", on_a_solo_thread(digests));
        assert_eq!([child("1"), child("8")], [here.clone(), here]);
    }
}
