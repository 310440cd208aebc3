//! Server-sent events (WHATWG HTML § 9.2), put together from whatever pieces they arrive in.

/// Longest event that is read, in bytes.
const LONGEST: usize = 16 * 1024 * 1024;

/// An event grew longer than any that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endless;

/// What a blank line ended.
#[derive(Debug)]
pub struct Event<'e> {
    /// Its data; `None`: it has none.
    pub data: Option<&'e [u8]>,
    /// Its other lines (its name, an id, comments), each with its end.
    pub others: &'e [u8],
}

/// Puts lines and events together.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    data: Vec<u8>,
    others: Vec<u8>,
    has_data: bool,
}

impl Lines {
    /// Takes the next bytes; hands each event to `each`. Refuses an event without end.
    pub fn feed<E: From<Endless>>(
        &mut self,
        mut bytes: &[u8],
        each: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.hold(&bytes[..end])?;
            self.end_of_line(each)?;
            bytes = &bytes[end + 1..];
        }
        Ok(self.hold(bytes)?)
    }

    /// The stream ended: an event that no blank line has ended is handed over as it is.
    pub fn finish<E>(&mut self, each: &mut dyn FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        if !self.line.is_empty() {
            self.end_of_line(each)?;
        }
        if self.has_data || !self.others.is_empty() { self.end_of_line(each) } else { Ok(()) }
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), Endless> {
        if self.line.len() + self.data.len() + self.others.len() + bytes.len() > LONGEST {
            return Err(Endless);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_of_line<E>(&mut self, each: &mut dyn FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.is_empty() {
            let (data, others) = (std::mem::take(&mut self.data), std::mem::take(&mut self.others));
            let data = std::mem::take(&mut self.has_data).then_some(data.as_slice());
            return each(Event { data, others: &others });
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        } else {
            self.others.extend_from_slice(line);
            self.others.push(b'\n');
        }
        Ok(())
    }
}
