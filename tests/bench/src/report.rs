//! Samples and how they are printed.

use std::hint::black_box;
use std::time::Instant;

/// Times of single calls, in nanoseconds.
pub struct Samples(Vec<f64>);

impl Samples {
    /// Times `rounds` batches of `batch` calls after a warm-up; each sample is a batch's mean per call.
    pub fn of<T>(rounds: usize, batch: u32, mut call: impl FnMut() -> T) -> Self {
        for _ in 0..batch {
            black_box(call());
        }
        let samples = (0..rounds).map(|_| {
            let start = Instant::now();
            for _ in 0..batch {
                black_box(call());
            }
            start.elapsed().as_nanos() as f64 / f64::from(batch)
        });
        Self::from(samples.collect())
    }

    /// From measured values, in nanoseconds.
    pub fn from(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value below which this share of the samples lies, in nanoseconds; 0 without samples.
    pub fn quantile(&self, share: f64) -> f64 {
        let index = (self.0.len().saturating_sub(1) as f64 * share).round() as usize;
        self.0.get(index).copied().unwrap_or_default()
    }

    /// `median (p99)`, readable.
    pub fn cell(&self) -> String {
        format!("{} ({})", time(self.quantile(0.5)), time(self.quantile(0.99)))
    }
}

/// Nanoseconds, readable.
pub fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1_000.0 => format!("{ns:.0} ns"),
        ns if ns < 1_000_000.0 => format!("{:.2} µs", ns / 1_000.0),
        ns => format!("{:.1} ms", ns / 1_000_000.0),
    }
}
