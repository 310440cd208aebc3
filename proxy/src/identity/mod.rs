//! Who a process is, from the kernel.
