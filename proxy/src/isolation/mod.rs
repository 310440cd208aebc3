//! Walls around the workload.
