//! `openshell inference explain`: what the router makes of requests. Sends nothing.

mod report;
mod requests;
mod router;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use report::{Explanation, Line};
use router::Router;

use crate::args::inference::ExplainArgs;
use crate::command::{Context, DONE};
use crate::error::Error;
use crate::output::Output;

/// Where requests are read from.
type Input = Box<dyn Read + Send>;

/// Requests judged at once, in lines.
const BATCH: usize = 512;
/// Longest request, in bytes: what the proxy takes.
const LONGEST: u64 = 32 * 1024 * 1024;
/// Exit code of a batch in which some line was no request.
const SOME_REFUSED: u8 = 1;

/// Judges one request, or each line of a file.
pub async fn run(cx: &Context, args: ExplainArgs) -> Result<u8, Error> {
    // What can't be read is said before anything is compiled.
    let source = args.jsonl.as_deref().or(args.file.as_deref()).unwrap_or(Path::new("-")).to_owned();
    let input = open(&source)?;
    let router = Router::load(cx, &args).await?;
    let out = cx.out;
    let task = tokio::task::spawn_blocking(move || match &args.jsonl {
        Some(_) => batch(out, &router, input, &source),
        None => single(out, &router, input, &source),
    });
    task.await.map_err(|e| Error::Io { doing: "explain".into(), source: e.into() })?
}

fn single(out: Output, router: &Router, input: Input, source: &Path) -> Result<u8, Error> {
    let mut bytes = Vec::new();
    input.take(LONGEST + 1).read_to_end(&mut bytes).map_err(Error::io(format!("read {}", name(source))))?;
    let explained = explain(router, &bytes).map_err(|reason| Error::NotARequest { origin: name(source), reason })?;
    out.data(&explained, || explained.text())?;
    Ok(DONE)
}

/// Explains each line, in order; lines that are no requests are said to be none and counted.
fn batch(out: Output, router: &Router, input: Input, source: &Path) -> Result<u8, Error> {
    let mut input = BufReader::with_capacity(1 << 20, input);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut number, mut refused) = (0u64, 0u64);
    loop {
        let mut lines = Vec::with_capacity(BATCH);
        while lines.len() < BATCH {
            let mut line = Vec::new();
            let read = (&mut input).take(LONGEST + 1).read_until(b'\n', &mut line);
            if read.map_err(Error::io(format!("read {}", name(source))))? == 0 {
                break;
            }
            number += 1;
            if !line.trim_ascii().is_empty() {
                lines.push((number, line));
            }
        }
        if lines.is_empty() {
            break;
        }
        let share = lines.len().div_ceil(threads);
        let explained: Vec<Line> = std::thread::scope(|scope| {
            let parts: Vec<_> = lines
                .chunks(share)
                .map(|part| {
                    let each = |(number, line): &(u64, Vec<u8>)| Line::new(*number, explain(router, line));
                    scope.spawn(move || part.iter().map(each).collect::<Vec<_>>())
                })
                .collect();
            parts.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
        });
        if explained.len() != lines.len() {
            return Err(Error::Io { doing: "explain".into(), source: std::io::Error::other("a thread ended early") });
        }
        refused += explained.iter().filter(|line| line.is_refused()).count() as u64;
        out.records(&explained, Line::text)?;
    }
    if refused > 0 {
        out.note(format!("{refused} of {number} lines are no requests"));
        return Ok(SOME_REFUSED);
    }
    Ok(DONE)
}

fn explain(router: &Router, bytes: &[u8]) -> Result<Explanation, String> {
    if bytes.len() as u64 > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let request = requests::parse(bytes, router.endpoint())?;
    router.explain(&request)
}

fn open(source: &Path) -> Result<Input, Error> {
    if source == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = std::fs::File::open(source).map_err(Error::io(format!("read {}", source.display())))?;
    Ok(Box::new(file))
}

fn name(source: &Path) -> String {
    if source == Path::new("-") { "standard input".to_owned() } else { source.display().to_string() }
}
