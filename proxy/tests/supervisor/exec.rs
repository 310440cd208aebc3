//! Commands run in a sandbox over the link.

use openshell_api::link::{EXEC_WINDOW, ExecStream, FromSupervisor, ToSupervisor};
use openshell_api::sandbox::{ExecRequest, WindowSize};
use openshell_api::stream::{StreamEvent, StreamRequest};

use super::gateway::{Heard, Link};
use super::world::{Supervisor, World, can_seal};

/// What a command left behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub end: String,
}

pub fn outcome(stdout: &str, stderr: &str, end: &str) -> Outcome {
    Outcome { stdout: stdout.to_owned(), stderr: stderr.to_owned(), end: end.to_owned() }
}

fn command(command: &[&str], tty: Option<WindowSize>) -> ExecRequest {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    ExecRequest { command, env: [].into(), workdir: None, tty }
}

pub fn request(words: &[&str]) -> StreamRequest {
    StreamRequest::Exec { exec: command(words, None), resumable: false }
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
pub async fn finish(link: &mut Link, wanted: u64) -> Outcome {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let end = loop {
        match link.hear().await.expect("the link is up") {
            Heard::Bytes { channel, stream, data } if channel == wanted => {
                link.say(&ToSupervisor::ExecCredit { channel, bytes: data.len() as u64 }).await;
                let output = if stream == ExecStream::Stdout as u8 { &mut stdout } else { &mut stderr };
                output.extend_from_slice(&data);
            }
            Heard::Said(FromSupervisor::ExecExited { channel, code, .. }) if channel == wanted => {
                break code.to_string();
            }
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
        link.say(&ToSupervisor::Open { channel, request: request(command) }).await;
        assert_eq!(finish(&mut link, channel).await, expected, "{command:?}");
    }
    let failures: [(&[&str], &str); 2] =
        [(&["/no/such/program"], "can't run /no/such/program"), (&[], "no command was given")];
    for (channel, (command, expected)) in (200..).zip(failures) {
        link.say(&ToSupervisor::Open { channel, request: request(command) }).await;
        let end = finish(&mut link, channel).await.end;
        assert!(end.starts_with(expected), "{end}");
    }
}

#[tokio::test]
async fn input_goes_in_and_ends() {
    let Some((_world, _supervisor, mut link)) = sealed().await else { return };
    link.say(&ToSupervisor::Open { channel: 1, request: request(&["wc", "-c"]) }).await;
    for _ in 0..40 {
        link.input(1, &[b'x'; 100_000]).await;
    }
    link.input(1, b"").await;
    assert_eq!(finish(&mut link, 1).await, outcome("4000000\n", "", "0"));
}

#[tokio::test]
async fn a_command_that_does_not_read_is_ended_before_memory_is() {
    let Some((_world, _supervisor, mut link)) = sealed().await else { return };
    link.say(&ToSupervisor::Open { channel: 1, request: request(&["sleep", "1000"]) }).await;
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
    link.say(&ToSupervisor::Open { channel: 1, request: request(&["sh", "-c", &command]) }).await;
    // Whatever comes before an answer to a later question came without credit.
    link.say(&ToSupervisor::Open { channel: 2, request: request(&["sleep", "0.3"]) }).await;
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
            Heard::Said(FromSupervisor::ExecExited { channel: 1, code, .. }) => {
                assert_eq!((received, code, paused), (total, 0, true));
                break;
            }
            _ => {}
        }
    }
}

/// The command has ended, and its client is slow: others begin meanwhile.
#[tokio::test]
async fn what_has_ended_and_was_not_all_sent_outlives_others() {
    let Some((_world, _supervisor, mut link)) = sealed().await else { return };
    let total = EXEC_WINDOW + EXEC_WINDOW / 2;
    let command = format!("head -c {total} /dev/zero; echo gone > ended");
    link.say(&ToSupervisor::Open { channel: 1, request: request(&["sh", "-c", &command]) }).await;
    let wait = "until [ -s ended ]; do sleep 0.05; done; sleep 0.3";
    link.say(&ToSupervisor::Open { channel: 2, request: request(&["sh", "-c", wait]) }).await;
    let mut received = 0;
    loop {
        match link.hear().await.expect("the link is up") {
            Heard::Bytes { channel: 1, data, .. } => received += data.len() as u64,
            Heard::Said(FromSupervisor::ExecExited { channel: 2, .. }) => {
                link.say(&ToSupervisor::Open { channel: 3, request: request(&["true"]) }).await;
            }
            Heard::Said(FromSupervisor::ExecExited { channel: 3, .. }) => {
                assert_eq!(received, EXEC_WINDOW);
                link.say(&ToSupervisor::ExecCredit { channel: 1, bytes: EXEC_WINDOW }).await;
            }
            Heard::Said(FromSupervisor::ExecExited { channel: 1, code, .. }) => {
                break assert_eq!((received, code), (total, 0));
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_terminal_has_a_size_and_a_line_discipline() {
    let Some((_world, _supervisor, mut link)) = sealed().await else { return };
    let terminal = |words: &[&str]| {
        let exec = command(words, Some(WindowSize { rows: 24, cols: 80 }));
        StreamRequest::Exec { exec, resumable: false }
    };
    link.say(&ToSupervisor::Open { channel: 1, request: terminal(&["sh", "-c", "stty size; echo $TERM"]) }).await;
    assert_eq!(finish(&mut link, 1).await, outcome("24 80\r\nxterm-256color\r\n", "", "0"));

    let script = "read line; stty size; echo got $line";
    link.say(&ToSupervisor::Open { channel: 2, request: terminal(&["sh", "-c", script]) }).await;
    link.say(&ToSupervisor::ExecResize { channel: 2, size: WindowSize { rows: 50, cols: 132 } }).await;
    link.input(2, b"typed\n").await;
    assert_eq!(finish(&mut link, 2).await, outcome("typed\r\n50 132\r\ngot typed\r\n", "", "0"));

    link.say(&ToSupervisor::Open { channel: 3, request: terminal(&["cat"]) }).await;
    link.input(3, b"").await;
    assert_eq!(finish(&mut link, 3).await.end, "0", "an end of input is Ctrl-D");
}

#[tokio::test]
async fn signals_reach_a_command_and_a_lost_link_hangs_it_up() {
    let Some((world, _supervisor, mut link)) = sealed().await else { return };
    link.say(&ToSupervisor::Open { channel: 1, request: request(&["sleep", "1000"]) }).await;
    link.say(&ToSupervisor::ExecSignal { channel: 1, signal: 15 }).await;
    assert_eq!(finish(&mut link, 1).await.end, "143");

    let script = "trap 'touch hung-up; exit' HUP; echo ready; while :; do sleep 0.05; done";
    link.say(&ToSupervisor::Open { channel: 2, request: request(&["sh", "-c", script]) }).await;
    while !matches!(link.hear().await, Some(Heard::Bytes { channel: 2, .. })) {}
    drop(link);
    let mut link = world.gateway.accept().await;
    let wait = "until [ -e hung-up ]; do sleep 0.05; done; echo seen";
    link.say(&ToSupervisor::Open { channel: 3, request: request(&["sh", "-c", wait]) }).await;
    assert_eq!(finish(&mut link, 3).await, outcome("seen\n", "", "0"));
}

/// What was said about a stream, beside its end.
async fn event(link: &mut Link, wanted: u64) -> StreamEvent {
    link.until(|message| match message {
        FromSupervisor::Stream { channel, event } if channel == wanted => Some(event),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_resumable_command_survives_its_link_and_loses_no_byte() {
    let Some((world, _supervisor, mut link)) = sealed().await else { return };
    let script = "printf first; read line; printf \"got:$line\"; exit 5";
    let exec = command(&["sh", "-c", script], None);
    link.say(&ToSupervisor::Open { channel: 1, request: StreamRequest::Exec { exec, resumable: true } }).await;
    let StreamEvent::Started { session } = event(&mut link, 1).await else { panic!("it has a name") };
    while !matches!(link.hear().await, Some(Heard::Bytes { channel: 1, .. })) {}
    link.input(1, b"half ").await;
    link.until(|message| matches!(message, FromSupervisor::ExecCredit { channel: 1, bytes: 5, .. }).then_some(()))
        .await;
    drop(link);

    // The client has three bytes of five; the sandbox, five of the input.
    let mut link = world.gateway.accept().await;
    let resume = |received| StreamRequest::Resume { session: session.clone(), received };
    link.say(&ToSupervisor::Open { channel: 7, request: resume(3) }).await;
    assert_eq!(event(&mut link, 7).await, StreamEvent::Resumed { input: 5, ended: false });
    link.input(7, b"line\n").await;
    assert_eq!(finish(&mut link, 7).await, outcome("stgot:half line", "", "5"));

    // The end was not confirmed, so it is told again; then nobody needs it any more.
    link.say(&ToSupervisor::Detach { channel: 7, done: false }).await;
    link.say(&ToSupervisor::Open { channel: 8, request: resume(17) }).await;
    assert_eq!(finish(&mut link, 8).await, outcome("e", "", "5"));
    link.say(&ToSupervisor::Detach { channel: 8, done: true }).await;
    for (channel, session, expected) in
        [(9, session.as_str(), "the session is over"), (10, "guessed", "the session is over")]
    {
        let request = StreamRequest::Resume { session: session.to_owned(), received: 0 };
        link.say(&ToSupervisor::Open { channel, request }).await;
        let end = finish(&mut link, channel).await.end;
        assert!(end.starts_with(expected), "{end}");
    }
}

#[tokio::test]
async fn input_that_waits_is_counted_over_however_many_links() {
    const PIECE: usize = 100_000;
    let Some((world, _supervisor, mut link)) = sealed().await else { return };
    let exec = command(&["sh", "-c", "until [ -e go ]; do sleep 0.02; done; wc -c"], None);
    link.say(&ToSupervisor::Open { channel: 1, request: StreamRequest::Exec { exec, resumable: true } }).await;
    let StreamEvent::Started { session } = event(&mut link, 1).await else { panic!("it has a name") };
    link.input(1, &[b'x'; PIECE]).await;
    // More than a pipe holds, so that most of it waits.
    let mut arrived = 0;
    for channel in 2..6 {
        drop(link);
        link = world.gateway.accept().await;
        // Until the supervisor has read to the end of the old link, less may have arrived: never more than was sent.
        link.say(&ToSupervisor::Open {
            channel,
            request: StreamRequest::Resume { session: session.clone(), received: 0 },
        })
        .await;
        let StreamEvent::Resumed { input, ended: false } = event(&mut link, channel).await else {
            panic!("it goes on")
        };
        assert!(input >= arrived && input <= (channel - 1) * PIECE as u64, "{input}");
        let total = |message: FromSupervisor| match message {
            FromSupervisor::ExecCredit { channel: to, bytes, taken } if to == channel => Some((bytes, taken)),
            _ => None,
        };
        let (bytes, taken) = link.until(total).await;
        assert!(bytes == 0 && taken.is_some_and(|taken| taken <= input), "{bytes} {taken:?} of {input}");
        // What is missing, and as much again.
        arrived = input;
        let missing = channel * PIECE as u64 - input;
        link.input(channel, &vec![b'x'; missing as usize]).await;
        // Another channel's input is not this stream's.
        link.input(channel - 1, b"stray").await;
    }
    link.input(5, b"").await;
    link.say(&ToSupervisor::Open { channel: 9, request: request(&["touch", "go"]) }).await;
    let (mut granted, mut told) = (0, 0);
    let (mut output, mut code) = (Vec::new(), None);
    let all = 5 * PIECE as u64;
    while code.is_none() || told < all {
        match link.hear().await.expect("the link is up") {
            Heard::Said(FromSupervisor::ExecCredit { channel: 5, bytes, taken }) => {
                granted += bytes;
                told = told.max(taken.unwrap_or_default());
            }
            Heard::Bytes { channel: 5, data, .. } => output.extend_from_slice(&data),
            Heard::Said(FromSupervisor::ExecExited { channel: 5, code: ended, .. }) => code = Some(ended),
            _ => {}
        }
    }
    assert_eq!((String::from_utf8_lossy(&output).trim(), code), (&*all.to_string(), Some(0)));
    assert_eq!((told, granted), (all, all - arrived), "the channel's window holds what came on it");
}

#[tokio::test]
async fn a_second_client_takes_a_session_from_the_first() {
    let Some((_world, _supervisor, mut link)) = sealed().await else { return };
    let exec = command(&["cat"], None);
    link.say(&ToSupervisor::Open { channel: 1, request: StreamRequest::Exec { exec, resumable: true } }).await;
    let StreamEvent::Started { session } = event(&mut link, 1).await else { panic!("it has a name") };
    link.say(&ToSupervisor::Open { channel: 2, request: StreamRequest::Resume { session, received: 0 } }).await;
    link.input(2, b"mine").await;
    link.input(2, b"").await;
    let (mut first, mut second) = (None, None);
    let mut echoed = Vec::new();
    while first.is_none() || second.is_none() {
        match link.hear().await.expect("the link is up") {
            Heard::Said(FromSupervisor::ExecFailed { channel: 1, reason }) => first = Some(reason),
            Heard::Said(FromSupervisor::ExecExited { channel: 2, code, .. }) => second = Some(code),
            Heard::Bytes { channel: 2, data, .. } => echoed.extend_from_slice(&data),
            _ => {}
        }
    }
    assert_eq!(
        (first.as_deref(), second, &echoed[..]),
        (Some("another client has taken the session up"), Some(0), &b"mine"[..])
    );
}

#[tokio::test]
async fn ports_of_the_sandbox_are_reached_and_only_those() {
    let Some((_world, _supervisor, mut link)) = sealed().await else { return };
    let server = "import socket\ns=socket.create_server(('127.0.0.1',8099))\nprint('up',flush=True)\nc,_=s.accept()\n\
        d=c.makefile('rb').read()\nc.sendall(b'read:'+d)\nc.close()";
    link.say(&ToSupervisor::Open { channel: 1, request: request(&["python3", "-c", server]) }).await;
    while !matches!(link.hear().await, Some(Heard::Bytes { channel: 1, .. })) {}
    link.say(&ToSupervisor::Open { channel: 2, request: StreamRequest::Forward { port: 8099 } }).await;
    link.input(2, b"ping").await;
    // Half-closed: the answer comes after the end of the question.
    link.input(2, b"").await;
    assert_eq!(finish(&mut link, 2).await, outcome("read:ping", "", "0"));
    // A port of the machine, not of the sandbox.
    let outside = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = outside.local_addr().expect("its address").port();
    link.say(&ToSupervisor::Open { channel: 3, request: StreamRequest::Forward { port } }).await;
    let end = finish(&mut link, 3).await.end;
    assert!(end.starts_with(&format!("nothing answers on port {port} of the sandbox: Connection refused")), "{end}");
}

#[tokio::test]
async fn files_go_in_and_out_as_the_workload_could_write_them() {
    let Some((world, _supervisor, mut link)) = sealed().await else { return };
    let source = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(source.path().join("folder")).expect("a folder");
    std::fs::write(source.path().join("folder/file"), "content").expect("a file");
    std::os::unix::fs::symlink("file", source.path().join("folder/link")).expect("a link");
    let mut tree = Vec::new();
    openshell_transfer::pack(&source.path().join("folder"), &mut tree).expect("it packs");
    let upload = |path: &str| StreamRequest::Upload { path: path.to_owned() };

    link.say(&ToSupervisor::Open { channel: 1, request: upload("./") }).await;
    link.input(1, &tree).await;
    link.input(1, b"").await;
    assert_eq!(finish(&mut link, 1).await, outcome("", "", "0"));
    let inside = world.path("workspace/folder");
    assert_eq!(std::fs::read_to_string(inside.join("link")).expect("it is there"), "content");
    assert_eq!(std::fs::read_link(inside.join("link")).expect("a link"), std::path::Path::new("file"));

    link.say(&ToSupervisor::Open { channel: 2, request: upload("/etc/") }).await;
    link.input(2, &tree).await;
    link.input(2, b"").await;
    let refused = finish(&mut link, 2).await;
    assert!(refused.stderr.starts_with("can't write"), "{refused:?}");
    assert_eq!(refused.end, "1");

    let download = |path: &str| StreamRequest::Download { path: path.to_owned() };
    link.say(&ToSupervisor::Open { channel: 3, request: download("/root/.profile") }).await;
    let refused = finish(&mut link, 3).await;
    assert!(refused.stderr.starts_with("can't read /root/.profile"), "{refused:?}");
    link.say(&ToSupervisor::Open { channel: 4, request: download("folder/file") }).await;
    let sent = finish(&mut link, 4).await;
    assert!(sent.end == "0" && sent.stdout.contains("content"), "{sent:?}");
}
