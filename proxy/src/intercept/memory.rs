//! Another process's memory, while one of its threads waits in a caught call.

use std::io::{self, IoSliceMut};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// Reads up to `length` bytes; fewer where the rest is not mapped. Fails with `EFAULT` where nothing is.
pub(super) fn read(thread: u32, address: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    if length == 0 {
        return Ok(bytes);
    }
    let fault = || io::Error::from_raw_os_error(libc::EFAULT);
    let remote = [RemoteIoVec { base: usize::try_from(address).map_err(|_| fault())?, len: length }];
    let pid = Pid::from_raw(i32::try_from(thread).map_err(|_| fault())?);
    let read = process_vm_readv(pid, &mut [IoSliceMut::new(&mut bytes)], &remote)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Reads exactly `length` bytes, or fails with `EFAULT`.
pub(super) fn read_exact(thread: u32, address: u64, length: usize) -> io::Result<Vec<u8>> {
    let bytes = read(thread, address, length)?;
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}
