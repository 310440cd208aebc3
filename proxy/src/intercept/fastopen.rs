//! Calls that send and name a destination: TCP fast open, which connects as well, and datagrams.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, RawFd};

use super::addresses::Destination;
use super::door::{Door, errno_of};
use super::notify::{Answer, Notification, Turn};
use super::sockets::{self, Kind};
use super::{Reason, memory};

/// Most bytes sent on behalf of a caller in one call; a stream socket may always send less than asked.
const MOST: usize = 64 * 1024;
/// Most buffers read of a `struct msghdr` (the kernel's own limit).
const MOST_BUFFERS: usize = 1024;

/// A call with a destination, in one form.
struct Sending {
    fd: RawFd,
    address: u64,
    address_length: u64,
    /// Address and length of each buffer.
    buffers: Vec<(u64, u64)>,
    flags: i32,
}

pub(super) fn decide(door: &Door, caught: &Notification, turn: &mut Turn<'_>) -> Answer {
    let sending = match parse(caught) {
        Ok(sending) => sending,
        Err(errno) => return Answer::Fail(errno),
    };
    if sending.address == 0 {
        // On a connected socket the kernel needs nothing of us; on another it refuses.
        return Answer::Continue;
    }
    match door.destination(caught.thread, sending.address, sending.address_length) {
        Err(errno) => Answer::Fail(errno),
        Ok(Destination::Local) => Answer::Continue,
        Ok(Destination::Malformed) => Answer::Fail(libc::EINVAL),
        Ok(Destination::Inet(destination)) if door.stays_home(destination) => Answer::Continue,
        Ok(Destination::Inet(destination)) => {
            leave(door, caught, turn, &sending, destination).unwrap_or_else(Answer::Fail)
        }
    }
}

fn parse(caught: &Notification) -> Result<Sending, i32> {
    let [first, second, third, fourth, fifth, sixth] = caught.arguments;
    if caught.call == libc::SYS_sendto {
        let buffers = vec![(second, third)];
        let (fd, flags) = (first as RawFd, fourth as i32);
        return Ok(Sending { fd, address: fifth, address_length: sixth, buffers, flags });
    }
    // struct msghdr of a 64-bit process: name, name length (padded), buffers, their number, …
    let header = memory::read_exact(caught.thread, second, 32).map_err(|error| errno_of(&error))?;
    let words = words(&header);
    let &[address, address_length, buffers, count] = words.as_slice() else { return Err(libc::EFAULT) };
    let count = usize::try_from(count).ok().filter(|count| *count <= MOST_BUFFERS).ok_or(libc::EMSGSIZE)?;
    let table = memory::read_exact(caught.thread, buffers, 16 * count).map_err(|error| errno_of(&error))?;
    let buffers = self::words(&table).chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let address_length = u64::from(address_length as u32);
    Ok(Sending { fd: first as RawFd, address, address_length, buffers, flags: third as i32 })
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| chunk.first_chunk::<8>().map(|word| u64::from_ne_bytes(*word));
    bytes.chunks_exact(8).filter_map(word).collect()
}

fn leave(
    door: &Door,
    caught: &Notification,
    turn: &mut Turn<'_>,
    sending: &Sending,
    destination: SocketAddr,
) -> Result<Answer, i32> {
    let errno = |error: std::io::Error| errno_of(&error);
    let socket = door.take(caught, sending.fd)?;
    match sockets::kind(socket.as_fd()).map_err(errno)? {
        Kind::Tcp { .. } if sending.flags & libc::MSG_FASTOPEN != 0 => {}
        // Without fast open, which its flags in a register rule out, the kernel ignores the address of a stream.
        Kind::Tcp { .. } => return Ok(Answer::Continue),
        Kind::Udp => {
            door.refuse_caught(caught, turn, destination, Reason::Datagram);
            return Err(libc::ENETUNREACH);
        }
        Kind::Other => return Err(libc::EAFNOSUPPORT),
    }
    let bytes = gather(caught.thread, &sending.buffers)?;
    let again = socket.try_clone().map_err(errno)?;
    if door.lead(caught, turn, socket, destination)?.is_some() {
        return Err(libc::ETIMEDOUT);
    }
    door.ring();
    let sent = sockets::send(again.as_fd(), &bytes, sending.flags & !libc::MSG_FASTOPEN).map_err(errno)?;
    Ok(Answer::Return(sent as i64))
}

fn gather(thread: u32, buffers: &[(u64, u64)]) -> Result<Vec<u8>, i32> {
    let mut bytes = Vec::new();
    for (address, length) in buffers {
        let room = MOST - bytes.len();
        let length = usize::try_from(*length).unwrap_or(usize::MAX).min(room);
        bytes.extend(memory::read_exact(thread, *address, length).map_err(|error| errno_of(&error))?);
    }
    Ok(bytes)
}
