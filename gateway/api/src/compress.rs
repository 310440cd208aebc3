//! An artifact on its way to a supervisor, compressed with Zstandard (RFC 8878): machine code becomes two fifths of its length.

use zstd::bulk;
use zstd::zstd_safe::get_frame_content_size;

/// Higher ones take several times as long for a tenth less.
const LEVEL: i32 = 3;

/// Why something can't be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// It is not one frame that says how long its content is.
    #[error("it is not a Zstandard frame that says how long its content is")]
    Frame,
    /// The content is longer than is accepted.
    #[error("it says that it holds {length} bytes, more than the {limit} that are accepted")]
    TooLong {
        /// Of the content.
        length: u64,
        /// Most that is accepted.
        limit: u64,
    },
    /// It is cut off, or damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// One frame; `None`: it would save less than a tenth.
#[must_use]
pub fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    bulk::compress(bytes, LEVEL).ok().filter(|frame| frame.len() < bytes.len() / 10 * 9)
}

/// The content of one frame; at most `limit` bytes. Takes no more memory than the frame says that its content is long.
pub fn decompress(frame: &[u8], limit: u64) -> Result<Vec<u8>, DecompressError> {
    let length = get_frame_content_size(frame).ok().flatten().ok_or(DecompressError::Frame)?;
    if length > limit {
        return Err(DecompressError::TooLong { length, limit });
    }
    let damaged = |why: &dyn std::fmt::Display| DecompressError::Damaged(why.to_string());
    let capacity = usize::try_from(length).map_err(|error| damaged(&error))?;
    let content = bulk::decompress(frame, capacity).map_err(|error| damaged(&error))?;
    if content.len() != capacity {
        return Err(damaged(&"it ends early"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_comes_back() {
        for bytes in [b"openshell ".repeat(1000), vec![0; 1 << 20], (0..=255).collect::<Vec<u8>>().repeat(64)] {
            let frame = compress(&bytes).expect("it repeats itself");
            assert!(frame.len() < bytes.len() / 10);
            assert_eq!(decompress(&frame, bytes.len() as u64), Ok(bytes));
        }
    }

    #[test]
    fn what_has_no_pattern_stays_as_it_is() {
        let noise: Vec<u8> =
            (0..512u32).flat_map(|n| <sha2::Sha256 as sha2::Digest>::digest(n.to_le_bytes())).collect();
        assert_eq!(compress(&noise), None);
        assert_eq!(compress(b""), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let bytes = b"openshell ".repeat(1000);
        let frame = compress(&bytes).unwrap();
        let length = bytes.len() as u64;
        assert_eq!(decompress(&frame, length - 1), Err(DecompressError::TooLong { length, limit: length - 1 }));
        for nothing in [&b""[..], b"openshell", &frame[..3]] {
            assert_eq!(decompress(nothing, length), Err(DecompressError::Frame), "{nothing:?}");
        }
        for end in 8..frame.len() {
            assert!(matches!(decompress(&frame[..end], length), Err(DecompressError::Damaged(_))), "{end}");
        }
        // A frame may say anything of its content: nothing is set aside for what is too long.
        let mut huge = frame.clone();
        huge[4] |= 0xe0;
        huge.splice(5..7, u64::MAX.to_le_bytes());
        assert!(matches!(decompress(&huge, 1 << 28), Err(DecompressError::TooLong { .. } | DecompressError::Frame)));
    }
}
