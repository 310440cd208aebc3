//! A backup as bytes: a word, a line of JSON that says how the rest is to be read, and frames.
//!
//! A frame is its length, four bytes, the most significant first, and a body. The last one is empty. Encrypted, a body is sealed with
//! ChaCha20-Poly1305 under a key that Argon2id makes of a passphrase; its nonce counts frames and marks the last, and the head is
//! authenticated with it (as STREAM, Hoang et al. 2015). In the clear, a body ends with a SHA-256 over the same. Either way a frame that
//! was changed, moved, left out or cut off is found.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::BackupError;
use crate::secrets::{self, Passphrase, Sealer};
use crate::state_dir::random;

/// The first line of every backup.
const MAGIC: &[u8] = b"openshell backup\n";
/// Version of the format.
const VERSION: u32 = 1;
/// Most bytes of content in a frame.
const FRAME: usize = 64 * 1024;
/// Longest head, in bytes.
const MAX_HEAD: usize = 4096;
const CHECKSUM: usize = 32;
const PREFIX: usize = 7;

/// How the rest is to be read, and what it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Head {
    /// Of the format.
    pub version: u32,
    /// Version of the gateway.
    pub gateway: String,
    /// When it was made.
    pub made_at: jiff::Timestamp,
    /// How it is encrypted; absent: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encryption: Option<Encryption>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Encryption {
    /// What makes a key of the passphrase: `argon2id`, 64 MiB, three passes, one lane.
    kdf: String,
    salt: String,
    /// The first bytes of every nonce.
    nonce: String,
}

/// How frames are protected.
enum Guard {
    Sealed { sealer: Sealer, prefix: [u8; PREFIX] },
    Summed,
}

impl Guard {
    fn nonce(prefix: &[u8; PREFIX], number: u32, last: bool) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..PREFIX].copy_from_slice(prefix);
        nonce[PREFIX..11].copy_from_slice(&number.to_be_bytes());
        nonce[11] = u8::from(last);
        nonce
    }

    fn sum(head: &[u8], number: u32, last: bool, content: &[u8]) -> [u8; CHECKSUM] {
        let mut hash = Sha256::new_with_prefix((head.len() as u64).to_be_bytes());
        hash.update(head);
        hash.update(number.to_be_bytes());
        hash.update([u8::from(last)]);
        hash.update(content);
        hash.finalize().into()
    }

    fn close(&self, head: &[u8], number: u32, last: bool, content: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Sealed { sealer, prefix } => {
                let sealed = sealer.seal(&Self::nonce(prefix, number, last), head, content);
                sealed.ok_or_else(|| io::Error::other("a frame can't be encrypted"))
            }
            Self::Summed => Ok([content, &Self::sum(head, number, last, content)].concat()),
        }
    }

    fn open(&self, head: &[u8], number: u32, last: bool, body: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Sealed { sealer, prefix } => sealer.open(&Self::nonce(prefix, number, last), head, body),
            Self::Summed => {
                let (content, sum) = body.split_at_checked(body.len().checked_sub(CHECKSUM)?)?;
                (Self::sum(head, number, last, content) == sum).then(|| content.to_vec())
            }
        }
    }
}

/// Writes frames of what is written to it. Without [`Writer::finish`], what came of it is no backup.
pub(super) struct Writer<W: Write> {
    out: W,
    head: Vec<u8>,
    guard: Guard,
    number: u32,
    waiting: Zeroizing<Vec<u8>>,
}

impl<W: Write> Writer<W> {
    /// Begins a backup.
    pub(super) fn new(mut out: W, passphrase: Option<&Passphrase>) -> Result<Self, BackupError> {
        let (mut encryption, mut guard) = (None, Guard::Summed);
        if let Some(passphrase) = passphrase {
            let (salt, prefix): ([u8; 16], [u8; PREFIX]) = (random()?, random()?);
            guard = Guard::Sealed { sealer: secrets::sealer(passphrase, &salt)?, prefix };
            let (salt, nonce) = (hex::encode(salt), hex::encode(prefix));
            encryption = Some(Encryption { kdf: "argon2id".to_owned(), salt, nonce });
        }
        let (gateway, made_at) = (env!("CARGO_PKG_VERSION").to_owned(), jiff::Timestamp::now());
        let head = serde_json::to_vec(&Head { version: VERSION, gateway, made_at, encryption });
        let mut head = head.map_err(|error| BackupError::Damaged(error.to_string()))?;
        head.push(b'\n');
        let begun = out.write_all(MAGIC).and_then(|()| out.write_all(&head));
        begun.map_err(BackupError::io("the backup"))?;
        Ok(Self { out, head, guard, number: 0, waiting: Zeroizing::new(Vec::with_capacity(FRAME)) })
    }

    /// Ends the backup.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if !self.waiting.is_empty() {
            self.frame(false)?;
        }
        self.frame(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn frame(&mut self, last: bool) -> io::Result<()> {
        let body = self.guard.close(&self.head, self.number, last, &self.waiting)?;
        self.number = self.number.checked_add(1).ok_or_else(|| io::Error::other("it is too long"))?;
        self.waiting.clear();
        self.out.write_all(&u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes())?;
        self.out.write_all(&body)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = FRAME - self.waiting.len();
        let taken = bytes.len().min(room);
        self.waiting.extend_from_slice(&bytes[..taken]);
        if self.waiting.len() == FRAME {
            self.frame(false)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what frames hold. What a frame holds is answered only once it has been verified.
pub(super) struct Reader<R: Read> {
    input: R,
    head: Vec<u8>,
    guard: Guard,
    number: u32,
    content: Zeroizing<Vec<u8>>,
    at: usize,
    ended: bool,
    /// What is wrong. Whoever reads through something else, which has errors of its own, finds it here.
    pub(super) fault: Option<BackupError>,
}

impl<R: Read> Reader<R> {
    /// Begins to read. Refuses what is no backup, a newer format, and a passphrase that is missing.
    pub(super) fn new(mut input: R, passphrase: Option<&Passphrase>) -> Result<(Head, Self), BackupError> {
        let damaged = |what: &str| BackupError::Damaged(what.to_owned());
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic).map_err(|_| damaged("it is no backup of a gateway"))?;
        if magic != MAGIC {
            return Err(damaged("it is no backup of a gateway"));
        }
        let mut text = Vec::new();
        while text.last() != Some(&b'\n') {
            let mut byte = [0];
            input.read_exact(&mut byte).map_err(|_| BackupError::Truncated)?;
            text.push(byte[0]);
            if text.len() > MAX_HEAD {
                return Err(damaged("its head is too long"));
            }
        }
        // A newer head may have other fields: what version it is comes first.
        #[derive(Deserialize)]
        struct Versions {
            version: u32,
            #[serde(default)]
            gateway: String,
        }
        let versions: Versions = serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        if versions.version > VERSION {
            return Err(BackupError::Newer { found: versions.gateway });
        }
        let head: Head = serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        let guard = match &head.encryption {
            None => Guard::Summed,
            Some(encryption) => {
                let passphrase = passphrase.ok_or(BackupError::Encrypted)?;
                let salt = hex::decode(&encryption.salt).map_err(|error| damaged(&error.to_string()))?;
                let mut prefix = [0; PREFIX];
                let decoded = hex::decode_to_slice(&encryption.nonce, &mut prefix);
                decoded.map_err(|error| damaged(&error.to_string()))?;
                if encryption.kdf != "argon2id" {
                    return Err(BackupError::Newer { found: versions.gateway });
                }
                Guard::Sealed { sealer: secrets::sealer(passphrase, &salt)?, prefix }
            }
        };
        let content = Zeroizing::default();
        let mut reader = Self { input, head: text, guard, number: 0, content, at: 0, ended: false, fault: None };
        reader.frame()?;
        Ok((head, reader))
    }

    fn frame(&mut self) -> Result<(), BackupError> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length).map_err(|_| BackupError::Truncated)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > FRAME + CHECKSUM {
            return Err(BackupError::Damaged("a frame is too long".to_owned()));
        }
        let mut body = vec![0; length];
        self.input.read_exact(&mut body).map_err(|_| BackupError::Truncated)?;
        let opened = [false, true]
            .into_iter()
            .find_map(|last| self.guard.open(&self.head, self.number, last, &body).map(|content| (content, last)));
        let (content, last) = opened.ok_or(match self.guard {
            // The first frame tells a wrong passphrase from damage no better than others do.
            Guard::Sealed { .. } => BackupError::WrongPassphrase,
            Guard::Summed => BackupError::Damaged("a checksum does not hold".to_owned()),
        })?;
        self.number = self.number.checked_add(1).ok_or_else(|| BackupError::Damaged("it is too long".to_owned()))?;
        (self.content, self.at, self.ended) = (Zeroizing::new(content), 0, last);
        if last && !self.content.is_empty() {
            return Err(BackupError::Damaged("its last frame is not empty".to_owned()));
        }
        if last && self.input.read(&mut [0]).map_err(BackupError::io("the backup"))? > 0 {
            return Err(BackupError::Damaged("something follows its end".to_owned()));
        }
        Ok(())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.content.len() && !self.ended {
            if let Err(fault) = self.frame() {
                let told = io::Error::other(fault.to_string());
                self.fault = Some(fault);
                return Err(told);
            }
        }
        let taken = into.len().min(self.content.len() - self.at);
        into[..taken].copy_from_slice(&self.content[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}
