//! Commands run in a sandbox over the link.

use openshell_api::link::{EXEC_WINDOW, ExecStream, FromSupervisor, ToSupervisor};
use openshell_api::sandbox::{ExecRequest, WindowSize};

use super::gateway::{Heard, Link};
use super::world::{Supervisor, World, can_seal};

/// What a command left behind.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    stdout: String,
    stderr: String,
    end: String,
}

fn outcome(stdout: &str, stderr: &str, end: &str) -> Outcome {
    Outcome { stdout: stdout.to_owned(), stderr: stderr.to_owned(), end: end.to_owned() }
}

fn request(command: &[&str]) -> ExecRequest {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    ExecRequest { command, env: [].into(), workdir: None, tty: None }
}

async fn sealed() -> Option<(World, Supervisor, Link)> {
    if !can_seal() {
        return None;
    }
    let world = World::new().await;
    let (supervisor, mut link) = world.begin().await;
    if !link.running {
        link.until(|message| matches!(message, FromSupervisor::Running).then_some(())).await;
    }
    Some((world, supervisor, link))
}

/// Runs on until the command has ended; grants output as it comes.
async fn finish(link: &mut Link, wanted: u64) -> Outcome {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let end = loop {
        match link.hear().await.expect("the link is up") {
            Heard::Bytes { channel, stream, data } if channel == wanted => {
                link.say(&ToSupervisor::ExecCredit { channel, bytes: data.len() as u64 }).await;
                let output = if stream == ExecStream::Stdout as u8 { &mut stdout } else { &mut stderr };
                output.extend_from_slice(&data);
            }
            Heard::Said(FromSupervisor::ExecExited { channel, code }) if channel == wanted => break code.to_string(),
            Heard::Said(FromSupervisor::ExecFailed { channel, reason }) if channel == wanted => break reason,
            _ => {}
        }
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { stdout: text(stdout), stderr: text(stderr), end }
}

#[tokio::test]
async fn commands_run_and_say_how_they_ended() {
    let Some((_world, _supervisor, mut link)) = sealed().await else { return };
    let rows: [(&[&str], Outcome); 6] = [
        (&["echo", "hello"], outcome("hello\n", "", "0")),
        (&["sh", "-c", "echo out; echo err >&2; exit 9"], outcome("out\n", "err\n", "9")),
        (&["sh", "-c", "kill -9 $$"], outcome("", "", "137")),
        (&["sh", "-c", "echo $GREETING"], outcome("hello\n", "", "0")),
        (&["sh", "-c", "(sleep 0.1; echo late) & echo soon"], outcome("soon\nlate\n", "", "0")),
        (&["sh", "-c", "sleep 1000 & echo soon"], outcome("soon\n", "", "0")),
    ];
    for (channel, (command, expected)) in (100..).zip(rows) {
        link.say(&ToSupervisor::Exec { channel, request: request(command) }).await;
        assert_eq!(finish(&mut link, channel).await, expected, "{command:?}");
    }
    let failures: [(&[&str], &str); 2] =
        [(&["/no/such/program"], "can't run /no/such/program"), (&[], "no command was given")];
    for (channel, (command, expected)) in (200..).zip(failures) {
        link.say(&ToSupervisor::Exec { channel, request: request(command) }).await;
        let end = finish(&mut link, channel).await.end;
        assert!(end.starts_with(expected), "{end}");
    }
}

#[tokio::test]
async fn input_goes_in_and_ends() {
    let Some((_world, _supervisor, mut link)) = sealed().await else { return };
    link.say(&ToSupervisor::Exec { channel: 1, request: request(&["wc", "-c"]) }).await;
    for _ in 0..40 {
        link.input(1, &[b'x'; 100_000]).await;
    }
    link.input(1, b"").await;
    assert_eq!(finish(&mut link, 1).await, outcome("4000000\n", "", "0"));
}

#[tokio::test]
async fn a_command_that_does_not_read_is_ended_before_memory_is() {
    let Some((_world, _supervisor, mut link)) = sealed().await else { return };
    link.say(&ToSupervisor::Exec { channel: 1, request: request(&["sleep", "1000"]) }).await;
    for _ in 0..70 {
        link.input(1, &vec![0; 256 * 1024]).await;
    }
    let end = finish(&mut link, 1).await.end;
    assert!(end.starts_with("the command does not read its input"), "{end}");
}

#[tokio::test]
async fn output_waits_for_credit() {
    let Some((_world, _supervisor, mut link)) = sealed().await else { return };
    let total = 3 * EXEC_WINDOW;
    let command = format!("head -c {total} /dev/zero");
    link.say(&ToSupervisor::Exec { channel: 1, request: request(&["sh", "-c", &command]) }).await;
    // Whatever comes before an answer to a later question came without credit.
    link.say(&ToSupervisor::Exec { channel: 2, request: request(&["sleep", "0.3"]) }).await;
    let (mut received, mut paused) = (0, false);
    loop {
        match link.hear().await.expect("the link is up") {
            Heard::Bytes { channel: 1, data, .. } => {
                received += data.len() as u64;
                if paused {
                    link.say(&ToSupervisor::ExecCredit { channel: 1, bytes: data.len() as u64 }).await;
                }
            }
            Heard::Said(FromSupervisor::ExecExited { channel: 2, .. }) => {
                assert!(received <= EXEC_WINDOW, "{received} bytes without credit");
                paused = true;
                link.say(&ToSupervisor::ExecCredit { channel: 1, bytes: EXEC_WINDOW }).await;
            }
            Heard::Said(FromSupervisor::ExecExited { channel: 1, code }) => {
                assert_eq!((received, code, paused), (total, 0, true));
                break;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_terminal_has_a_size_and_a_line_discipline() {
    let Some((_world, _supervisor, mut link)) = sealed().await else { return };
    let terminal = |command: &[&str]| ExecRequest { tty: Some(WindowSize { rows: 24, cols: 80 }), ..request(command) };
    link.say(&ToSupervisor::Exec { channel: 1, request: terminal(&["sh", "-c", "stty size; echo $TERM"]) }).await;
    assert_eq!(finish(&mut link, 1).await, outcome("24 80\r\nxterm-256color\r\n", "", "0"));

    let script = "read line; stty size; echo got $line";
    link.say(&ToSupervisor::Exec { channel: 2, request: terminal(&["sh", "-c", script]) }).await;
    link.say(&ToSupervisor::ExecResize { channel: 2, size: WindowSize { rows: 50, cols: 132 } }).await;
    link.input(2, b"typed\n").await;
    assert_eq!(finish(&mut link, 2).await, outcome("typed\r\n50 132\r\ngot typed\r\n", "", "0"));

    link.say(&ToSupervisor::Exec { channel: 3, request: terminal(&["cat"]) }).await;
    link.input(3, b"").await;
    assert_eq!(finish(&mut link, 3).await.end, "0", "an end of input is Ctrl-D");
}

#[tokio::test]
async fn signals_reach_a_command_and_a_lost_link_hangs_it_up() {
    let Some((world, _supervisor, mut link)) = sealed().await else { return };
    link.say(&ToSupervisor::Exec { channel: 1, request: request(&["sleep", "1000"]) }).await;
    link.say(&ToSupervisor::ExecSignal { channel: 1, signal: 15 }).await;
    assert_eq!(finish(&mut link, 1).await.end, "143");

    let script = "trap 'touch hung-up; exit' HUP; echo ready; while :; do sleep 0.05; done";
    link.say(&ToSupervisor::Exec { channel: 2, request: request(&["sh", "-c", script]) }).await;
    while !matches!(link.hear().await, Some(Heard::Bytes { channel: 2, .. })) {}
    drop(link);
    let mut link = world.gateway.accept().await;
    let wait = "until [ -e hung-up ]; do sleep 0.05; done; echo seen";
    link.say(&ToSupervisor::Exec { channel: 3, request: request(&["sh", "-c", wait]) }).await;
    assert_eq!(finish(&mut link, 3).await, outcome("seen\n", "", "0"));
}
