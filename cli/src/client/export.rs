//! An answer of many lines, taken in blocks of whole ones.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::rest::Chain;
use crate::error::Error;

/// Size of a block, unless a single line is longer, in bytes.
const BLOCK: usize = 512 * 1024;
const REQUEST: &str = "GET /v1/decisions/export";

/// Lines on their way.
pub struct Lines {
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
    waiting: BytesMut,
}

impl Lines {
    /// Of this answer.
    pub fn of(response: reqwest::Response) -> Self {
        Self { chunks: response.bytes_stream().boxed(), waiting: BytesMut::new() }
    }

    /// The next lines, the last one whole; `None`: there are no more. Refuses an answer that breaks off.
    pub async fn next(&mut self) -> Result<Option<BytesMut>, Error> {
        let broken = |reason: String| Error::Answer { request: REQUEST.into(), reason };
        while let Some(chunk) = self.chunks.next().await {
            self.waiting.extend_from_slice(&chunk.map_err(|e| broken(Chain(&e).to_string()))?);
            if self.waiting.len() < BLOCK {
                continue;
            }
            if let Some(end) = self.waiting.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Some(self.waiting.split_to(end + 1)));
            }
        }
        match self.waiting.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(std::mem::take(&mut self.waiting))),
            Some(_) => Err(broken("it ended in the middle of a record".into())),
        }
    }
}

/// One line, understood.
pub fn parse<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, Error> {
    super::rest::parse(line, REQUEST)
}

/// The lines of a block.
pub fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}
