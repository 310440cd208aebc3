//! Packets of SFTP version 3 (draft-ietf-secsh-filexfer-02): a length, a type, and fields. Names are bytes.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Longest packet, in bytes; OpenSSH's own limit.
pub const MAX_PACKET: usize = 256 * 1024;
/// Longest read or write that a client is told it may ask for, in bytes.
pub const MAX_DATA: u32 = 255 * 1024;

/// A file's attributes, as far as they are known or to be set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// In bytes.
    pub size: Option<u64>,
    /// User and group.
    pub owner: Option<(u32, u32)>,
    /// Type and mode, as in `inode(7)`.
    pub mode: Option<u32>,
    /// Last access and last change, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const MODE: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

/// A packet ends before a field does.
#[derive(Debug)]
pub struct Truncated;

/// What is left of a packet.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of a packet.
    pub fn new(packet: &'a [u8]) -> Self {
        Self(packet)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub fn u32(&mut self) -> Result<u32, Truncated> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub fn u64(&mut self) -> Result<u64, Truncated> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Truncated> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| Truncated)?)
    }

    /// A path; none is the working directory.
    pub fn path(&mut self) -> Result<&'a Path, Truncated> {
        let bytes = self.bytes()?;
        Ok(Path::new(OsStr::from_bytes(if bytes.is_empty() { b"." } else { bytes })))
    }

    pub fn attributes(&mut self) -> Result<Attributes, Truncated> {
        let flags = self.u32()?;
        let mut attributes = Attributes::default();
        if flags & SIZE != 0 {
            attributes.size = Some(self.u64()?);
        }
        if flags & OWNER != 0 {
            attributes.owner = Some((self.u32()?, self.u32()?));
        }
        if flags & MODE != 0 {
            attributes.mode = Some(self.u32()?);
        }
        if flags & TIMES != 0 {
            attributes.times = Some((self.u32()?, self.u32()?));
        }
        if flags & EXTENDED != 0 {
            for _ in 0..self.u32()? {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Ok(attributes)
    }
}

/// A packet that is being written.
pub struct Answer(Vec<u8>);

impl Answer {
    /// Of this type, about this request.
    pub fn new(kind: u8, id: u32) -> Self {
        Self::bare(kind).u32(id)
    }

    /// Of this type, about no request.
    pub fn bare(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind])
    }

    #[must_use]
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut answer = self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        answer.0.extend_from_slice(bytes);
        answer
    }

    #[must_use]
    pub fn attributes(self, attributes: &Attributes) -> Self {
        let Attributes { size, owner, mode, times } = *attributes;
        let flag = |present: bool, flag: u32| if present { flag } else { 0 };
        let flags = flag(size.is_some(), SIZE)
            | flag(owner.is_some(), OWNER)
            | flag(mode.is_some(), MODE)
            | flag(times.is_some(), TIMES);
        let mut answer = self.u32(flags);
        if let Some(size) = size {
            answer = answer.u64(size);
        }
        if let Some((user, group)) = owner {
            answer = answer.u32(user).u32(group);
        }
        if let Some(mode) = mode {
            answer = answer.u32(mode);
        }
        if let Some((accessed, modified)) = times {
            answer = answer.u32(accessed).u32(modified);
        }
        answer
    }

    /// The whole packet, ready to be sent.
    pub fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// The next packet without its length; nothing at the end of input. Refuses one that is too long.
pub fn read_packet(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match input.read(&mut length[..1])? {
        0 => return Ok(None),
        _ => input.read_exact(&mut length[1..])?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > MAX_PACKET {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a packet of {length} bytes")));
    }
    let mut packet = vec![0; length];
    input.read_exact(&mut packet)?;
    Ok(Some(packet))
}
