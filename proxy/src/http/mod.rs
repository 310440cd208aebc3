//! The egress proxy: reads, judges, dials, relays.
