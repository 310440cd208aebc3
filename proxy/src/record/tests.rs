use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openshell_api::sandbox::LogLine;

use super::{Batch, Spool, SpoolOptions};

fn line(number: u64) -> LogLine {
    LogLine {
        at: jiff::Timestamp::UNIX_EPOCH,
        stream: "stdout".to_owned(),
        line: format!("line {number}"),
        exit_code: None,
        lost: None,
    }
}

fn options() -> SpoolOptions {
    SpoolOptions { pause: Duration::ZERO, ..SpoolOptions::default() }
}

fn open(dir: &Path) -> Spool<LogLine> {
    Spool::open(dir, options()).expect("a spool in a fresh directory opens")
}

/// Pushes lines `numbers` and waits until they are on disk.
async fn fill(spool: &Spool<LogLine>, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        spool.push_patiently(&line(number)).await;
    }
    spool.flush().await;
}

/// Everything that is not stored, as (sequence number, text).
fn unstored(spool: &Spool<LogLine>) -> Vec<(u64, String)> {
    let mut reader = spool.reader();
    let mut all = Vec::new();
    while let Some(batch) = reader.read().expect("the spool reads") {
        let lines: Vec<LogLine> = serde_json::from_str(&format!("[{}]", batch.json)).expect("a batch is JSON");
        assert_eq!(lines.len() as u64, batch.count);
        all.extend(lines.into_iter().zip(batch.first..).map(|(line, number)| (number, line.line)));
    }
    all
}

fn numbered(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, String)> {
    numbers.into_iter().map(|number| (number, format!("line {number}"))).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the directory reads").map(|entry| entry.expect("an entry").path());
    let mut segments: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
    segments.sort();
    segments
}

#[tokio::test]
async fn what_is_pushed_is_read_until_it_is_stored() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path());
    assert_eq!(unstored(&spool), []);
    fill(&spool, 1..=5).await;
    assert_eq!(unstored(&spool), numbered(1..=5));
    spool.stored(3);
    assert_eq!(unstored(&spool), numbered(4..=5));
    spool.stored(2);
    assert_eq!(unstored(&spool), numbered(4..=5), "what is stored stays stored");
    spool.stored(900);
    fill(&spool, 6..=6).await;
    assert_eq!(unstored(&spool), numbered(6..=6), "a number that was never handed out hides nothing");
    assert_eq!(spool.stats().lost, 0);
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_run_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    for run in 0..4 {
        let spool = open(dir.path());
        fill(&spool, run * 10 + 1..=run * 10 + 10).await;
        assert_eq!(unstored(&spool), numbered(run * 10 - run.min(1) * 5 + 1..=run * 10 + 10), "run {run}");
        spool.stored(run * 10 + 5);
    }
}

#[tokio::test]
async fn a_restart_with_nothing_new_reuses_no_number() {
    let dir = tempfile::tempdir().expect("a directory");
    fill(&open(dir.path()), 1..=2).await;
    open(dir.path()).stored(2);
    drop(open(dir.path()));
    let spool = open(dir.path());
    fill(&spool, 3..=3).await;
    assert_eq!(unstored(&spool), numbered(3..=3));
}

/// What a crash, or a broken disk, may leave in a segment of three lines, and what is read of it.
async fn damaged(damage: impl Fn(&mut Vec<u8>), expected: Vec<(u64, String)>, lost: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    fill(&open(dir.path()), 1..=3).await;
    let path = segments(dir.path()).pop().expect("a segment");
    let mut bytes = fs::read(&path).expect("the segment reads");
    damage(&mut bytes);
    fs::File::create(&path).and_then(|mut file| file.write_all(&bytes)).expect("the segment is written");
    let spool = open(dir.path());
    fill(&spool, 9..=9).await;
    let read: Vec<_> = unstored(&spool);
    assert_eq!(read, expected, "{:?}", String::from_utf8_lossy(&bytes));
    assert_eq!(spool.stats().lost, lost);
}

#[tokio::test]
async fn damage_costs_only_the_damaged_lines() {
    let with_nine = |numbers: &[u64], nine: u64| {
        let mut lines = numbered(numbers.iter().copied());
        lines.push((nine, "line 9".to_owned()));
        lines
    };
    damaged(|_| {}, with_nine(&[1, 2, 3], 4), 0).await;
    damaged(|bytes| bytes.truncate(bytes.len() - 1), with_nine(&[1, 2], 3), 0).await;
    damaged(|bytes| bytes.truncate(bytes.len() - 30), with_nine(&[1, 2], 3), 0).await;
    damaged(|bytes| bytes.extend_from_slice(b"{\"at\":\"19"), with_nine(&[1, 2, 3], 4), 0).await;
    damaged(|bytes| bytes[0] = b'x', with_nine(&[2, 3], 4), 1).await;
    damaged(|bytes| bytes.clear(), with_nine(&[], 1), 0).await;
    let middle = |bytes: &mut Vec<u8>| {
        let at = bytes.iter().position(|byte| *byte == b'\n').expect("a line ends") + 3;
        bytes[at] = 0xff;
    };
    damaged(middle, with_nine(&[1, 3], 4), 1).await;
}

#[tokio::test]
async fn a_full_spool_drops_the_oldest_and_counts_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = SpoolOptions { max_bytes: 4000, segment_bytes: 500, ..options() };
    let spool = Spool::open(dir.path(), small).expect("opens");
    for number in 1..=200 {
        fill(&spool, number..=number).await;
    }
    let left = unstored(&spool);
    let first = left.first().expect("the newest are there").0;
    assert_eq!(left, numbered(first..=200));
    assert!(first > 100, "4000 bytes hold fewer than 100 lines, {first} is the first");
    assert_eq!(spool.stats().lost, first - 1);
    let bytes: u64 = segments(dir.path()).iter().map(|path| fs::metadata(path).expect("is there").len()).sum();
    assert!(bytes <= 4500, "{bytes}");
    spool.stored(200);
    assert_eq!(segments(dir.path()).len(), 1, "stored segments are removed");
    assert_eq!(spool.stats().lost, first - 1, "what is stored is not lost");
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiny = SpoolOptions { queue_bytes: 1, pause: Duration::from_millis(20), ..options() };
    let spool = Spool::open(dir.path(), tiny).expect("opens");
    for number in 1..=10_000 {
        spool.push(&line(number));
    }
    // What is lost has its numbers: the next one comes after all of them.
    fill(&spool, 10_001..=10_001).await;
    let (stats, left) = (spool.stats(), unstored(&spool));
    assert!(stats.lost > 0);
    assert_eq!(left.len() as u64 + stats.lost, 10_001);
    assert_eq!((stats.written, left.last()), (10_001, Some(&(10_001, "line 10001".to_owned()))));
    drop(spool);
    assert_eq!(unstored(&open(dir.path())), left, "a restart changes no number");
}

#[tokio::test]
async fn what_can_not_be_written_has_its_numbers() {
    let dir = tempfile::tempdir().expect("a directory");
    let each = SpoolOptions { segment_bytes: 1, ..options() };
    let spool = Spool::open(dir.path(), each).expect("opens");
    fill(&spool, 1..=2).await;
    // Directories have the names of its next segments.
    let blocked = [3, 4].map(|first| dir.path().join(format!("{first:020}.jsonl")));
    blocked.iter().for_each(|path| fs::create_dir(path).expect("a directory"));
    for number in 3..=5 {
        fill(&spool, number..=number).await;
    }
    assert_eq!(unstored(&spool), numbered([1, 2, 5]));
    let stats = spool.stats();
    assert_eq!((stats.lost, stats.written), (2, 5));
    // Nothing was left behind by what failed.
    blocked.iter().for_each(|path| fs::remove_dir(path).expect("it is empty"));
    drop(spool);
    assert_eq!(unstored(&open(dir.path())), numbered([1, 2, 5]));
}

#[tokio::test]
async fn a_position_is_that_of_the_last_that_was_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path());
    assert_eq!(spool.reader().position(), 0);
    fill(&spool, 1..=5).await;
    spool.stored(2);
    let mut reader = spool.reader();
    assert_eq!(reader.position(), 2);
    while reader.read().expect("reads").is_some() {}
    assert_eq!(reader.position(), 5);
}

#[tokio::test]
async fn long_items_and_many_items_come_in_batches() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path());
    let long = LogLine { line: "x".repeat(700_000), ..line(0) };
    spool.push(&long);
    fill(&spool, 2..=5000).await;
    spool.push(&long);
    spool.flush().await;
    let read = unstored(&spool);
    assert_eq!(read.len(), 5001);
    assert_eq!(read[0].1.len(), 700_000);
    assert_eq!(read[1..5000], numbered(2..=5000)[..]);
    assert!(read.iter().map(|(number, _)| *number).eq(1..=5001));
}

#[tokio::test]
async fn who_keeps_up_reads_from_memory_what_others_read_from_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    // Segments end in between.
    let spool = Spool::<LogLine>::open(dir.path(), SpoolOptions { segment_bytes: 20_000, ..options() }).expect("opens");
    let (mut reader, mut read) = (spool.reader(), Vec::new());
    let take = |batch: Batch, read: &mut Vec<String>| {
        assert_eq!(batch.first, read.len() as u64 + 1);
        let lines: Vec<LogLine> = serde_json::from_str(&format!("[{}]", batch.json)).expect("a batch is JSON");
        assert_eq!(lines.len() as u64, batch.count);
        read.extend(lines.into_iter().map(|line| line.line));
    };
    let mut next = 1;
    for behind in [5_000, 1, 300] {
        for number in next..next + 100 {
            spool.push(&line(number));
            reader.wait().await;
            take(reader.fresh().expect("it was written last"), &mut read);
            assert_eq!(reader.fresh(), None, "each is read once");
        }
        next += 100;
        // Longer than a batch, so that one is left in memory when another is read.
        spool.push(&LogLine { line: "x".repeat(200_000), ..line(0) });
        fill(&spool, next + 1..=next + behind).await;
        next += behind + 1;
        while let Some(batch) = reader.read().expect("reads") {
            take(batch, &mut read);
        }
    }
    let from_disk: Vec<String> = unstored(&spool).into_iter().map(|(_, line)| line).collect();
    assert_eq!(read.len(), from_disk.len());
    assert!(read == from_disk);
}

#[tokio::test]
async fn a_reader_waits_for_what_comes() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path());
    let mut reader = spool.reader();
    spool.push(&line(1));
    reader.wait().await;
    assert!(reader.read().expect("reads").is_some());
    reader.wait_for_room(1).await;
    let full = tokio::time::timeout(Duration::from_millis(20), reader.wait_for_room(0)).await;
    assert!(full.is_err(), "one item is read and not stored");
    spool.stored(1);
    reader.wait_for_room(0).await;
}
