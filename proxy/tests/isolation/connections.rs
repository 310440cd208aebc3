//! Connections: caught, named, led to the proxy; everything else refused.

use libtest_mimic::Failed;

use crate::world::{World, sha256};

crate::tests![
    curl_is_caught_by_name_and_address,
    a_program_that_knows_the_proxy_is_known_too,
    sockets_that_do_not_block,
    fast_open,
    own_servers,
    names_without_a_proxy,
    datagrams_have_no_way_out,
    what_nobody_may_do_is_told_once,
    scripts_and_ancestors,
    replaced_and_deleted_executables,
    many_at_once_from_two_programs,
    thousands_open_at_once,
    connecting_again,
    a_connect_that_hangs_stops_no_other,
    a_program_that_is_too_long_to_be_known_reaches_nothing,
];

const CURL: &[&str] = &["/usr/bin/curl", "-sS", "--max-time", "20"];

async fn curl(world: &World, url: &str, expected: &str) -> Result<(), Failed> {
    world.check(&[CURL, &["-g", url]].concat(), &format!("/usr/bin/curl {expected}")).await
}

async fn curl_is_caught_by_name_and_address() -> Result<(), Failed> {
    let world = World::new().await;
    curl(&world, "http://Example.test/", "example.test:80").await?;
    curl(&world, "http://inference.local:8443/", "inference.local:8443").await?;
    curl(&world, "http://93.184.215.14:8080/", "93.184.215.14:8080").await?;
    curl(&world, "http://169.254.169.254/", "169.254.169.254:80").await?;
    curl(&world, "http://[2001:db8::1]/", "2001:db8::1:80").await?;
    world.check(&[CURL, &["-4", "http://four.test/"]].concat(), "/usr/bin/curl four.test:80").await?;
    let seen = world.seen.lock().unwrap().clone();
    let caller = &seen[0].caller;
    assert_eq!(caller.process.digest, sha256("/usr/bin/curl"));
    assert_eq!(caller.arguments.last().unwrap(), "http://Example.test/");
    assert_eq!(caller.uid, world.sandbox.seal.uid);
    assert!(caller.ancestors.is_empty(), "{:?}", caller.ancestors);
    assert_eq!(world.sandbox.callers.pending(), 0);
    Ok(())
}

async fn a_program_that_knows_the_proxy_is_known_too() -> Result<(), Failed> {
    let world = World::new().await;
    for proxy in ["http://127.0.0.1:3128", "http://localhost:3128", "http://[::1]:3128", "http://0.0.0.0:3128"] {
        world.check(&[CURL, &["-x", proxy, "http://x.test/"]].concat(), "/usr/bin/curl proxy").await?;
    }
    Ok(())
}

const ASK: &str = "
import os, select, socket, sys
def ask(s):
    s.settimeout(20)
    s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
    return s.makefile('rb').read().split(b'\\r\\n\\r\\n')[1].decode()
";

async fn sockets_that_do_not_block() -> Result<(), Failed> {
    let world = World::new().await;
    for (family, address) in [("AF_INET", "192.0.2.7"), ("AF_INET6", "2001:db8::7"), ("AF_INET6", "::ffff:192.0.2.7")] {
        let code = format!(
            "{ASK}
s = socket.socket(socket.{family}); s.setblocking(False)
r = s.connect_ex(('{address}', 443))
assert r in (0, 115), r
select.select([], [s], [], 20)
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
print(ask(s).split()[1])"
        );
        world.python(&code, &format!("{}:443", address.trim_start_matches("::ffff:"))).await?;
    }
    Ok(())
}

async fn fast_open() -> Result<(), Failed> {
    let world = World::new().await;
    let code = format!(
        "{ASK}
get = b'GET / HTTP/1.0\\r\\n\\r\\n'
a = socket.socket(); assert a.sendto(get, 0x20000000, ('192.0.2.1', 80)) == len(get)
b = socket.socket(); assert b.sendmsg([get[:4], get[4:]], [], 0x20000000, ('192.0.2.2', 80)) == len(get)
c = socket.socket(); c.setsockopt(6, 30, 1); c.connect(('192.0.2.3', 80)); c.sendall(get)
print([s.makefile('rb').read().split()[-1].decode() for s in (a, b, c)])"
    );
    world.python(&code, "['192.0.2.1:80', '192.0.2.2:80', '192.0.2.3:80']").await
}

async fn own_servers() -> Result<(), Failed> {
    let world = World::new().await;
    for (family, address) in [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1"), ("AF_INET", "127.0.0.9")] {
        let code = format!(
            "
import socket, threading
l = socket.socket(socket.{family}); l.bind(('{address}', 8000)); l.listen()
threading.Thread(target=lambda: l.accept()[0].sendall(b'mine')).start()
print(socket.create_connection(('{address}', 8000)).recv(9).decode())"
        );
        world.python(&code, "mine").await?;
    }
    let local = "
import socket
l = socket.socket(socket.AF_UNIX); l.bind('sock'); l.listen()
c = socket.socket(socket.AF_UNIX); c.connect('sock'); print('local')";
    world.python(local, "local").await?;
    assert!(world.seen.lock().unwrap().is_empty());
    Ok(())
}

async fn names_without_a_proxy() -> Result<(), Failed> {
    let world = World::new().await;
    let code = "
import socket
one = socket.getaddrinfo('one.test', 80, type=socket.SOCK_STREAM)[0][4][0]
flagged = socket.getaddrinfo('one.test', 80, socket.AF_INET, flags=socket.AI_ADDRCONFIG)[0][4][0]
print(one.startswith('198.18.'), one == flagged, socket.gethostbyname('localhost'))
q = b'\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\3two\\4test\\0\\0\\1\\0\\1'
s = socket.create_connection(('127.0.0.1', 53)); s.sendall(len(q).to_bytes(2, 'big') + q)
print(s.recv(512)[-4:-2])";
    world.python(code, "True True 127.0.0.1\nb'\\xc6\\x12'").await
}

async fn datagrams_have_no_way_out() -> Result<(), Failed> {
    let world = World::new().await;
    let code = "
import socket
def errno(f):
    try: f(); return 0
    except OSError as e: return e.errno
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
print(errno(lambda: s.connect(('8.8.8.8', 443))), errno(lambda: s.sendto(b'x', ('8.8.8.8', 53))),
      errno(lambda: six.connect(('2001:4860:4860::8888', 443))), errno(lambda: s.sendmsg([b'x'], [], 0, ('8.8.8.8', 53))))
r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); r.bind(('127.0.0.1', 9000))
s.sendto(b'home', ('127.0.0.1', 9000)); print(r.recv(9).decode())";
    world.python(code, "101 101 101 101\nhome").await?;
    let python = std::fs::canonicalize("/usr/bin/python3").unwrap();
    let expected = ["8.8.8.8:443", "8.8.8.8:53", "2001:4860:4860::8888:443"];
    assert_eq!(world.refused(), expected.map(|to| format!("{} {to} Datagram", python.display())));
    Ok(())
}

async fn scripts_and_ancestors() -> Result<(), Failed> {
    let world = World::new().await;
    world.write("agent.py", &format!("{ASK}\nprint(ask(socket.create_connection(('192.0.2.1', 80))).split()[1])"));
    world.check(&["/bin/bash", "-c", "python3 agent.py; true"], "192.0.2.1:80").await?;
    let seen = world.seen.lock().unwrap().clone();
    let caller = &seen[0].caller;
    let script = world.workspace.path().join("agent.py");
    assert_eq!(caller.process.script.as_deref(), script.to_str());
    assert_eq!(caller.ancestors, [std::fs::canonicalize("/bin/bash").unwrap().to_string_lossy()]);
    assert_eq!(caller.arguments, ["python3", "agent.py"]);
    Ok(())
}

async fn replaced_and_deleted_executables() -> Result<(), Failed> {
    let world = World::new().await;
    let code = format!(
        "{ASK}\nos.unlink('py'); open('py', 'w').write('other')\nprint(ask(socket.create_connection(('192.0.2.1', 80))))"
    );
    world.write("agent.py", &code);
    let run = "cp /usr/bin/python3 py && exec ./py agent.py";
    let python = world.workspace.path().join("py");
    world.check(&["/bin/sh", "-c", run], &format!("{} 192.0.2.1:80", python.display())).await?;
    let seen = world.seen.lock().unwrap().clone();
    assert_eq!(seen[0].caller.process.digest, sha256("/usr/bin/python3"), "what runs, not what lies at its path now");
    Ok(())
}

async fn many_at_once_from_two_programs() -> Result<(), Failed> {
    let world = World::new().await;
    let code = format!(
        "{ASK}
import threading
here = []
def work(n):
    for i in range(40):
        to = '192.0.2.%d:%d' % (n, 1000 + i)
        answer = ask(socket.create_connection(('192.0.2.%d' % n, 1000 + i)))
        here.append(answer == os.path.realpath(sys.executable) + ' ' + to or print(answer, to))
threads = [threading.Thread(target=work, args=(n,)) for n in range(25)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sum(here))"
    );
    world.write("agent.py", &code);
    let run = "cp /usr/bin/python3 py; ./py agent.py & python3 agent.py; wait";
    world.check(&["/bin/sh", "-c", run], "1000\n1000").await?;
    assert_eq!(world.sandbox.callers.pending(), 0);
    Ok(())
}

/// All are connected before the first one is spoken on; half of the sockets block, half do not.
async fn thousands_open_at_once() -> Result<(), Failed> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let world = World::new().await;
    let code = format!(
        "{ASK}
import errno, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
opened = []
for i in range(3000):
    s = socket.socket()
    s.setblocking(i % 2 == 0)
    error = s.connect_ex(('192.0.2.%d' % (i % 250), 1000 + i))
    assert error in (0, errno.EINPROGRESS), (i, error)
    opened.append(s)
right = 0
for i, s in enumerate(opened):
    right += ask(s).split()[1] == '192.0.2.%d:%d' % (i % 250, 1000 + i)
print(right)"
    );
    world.write("agent.py", &code);
    world.check(&["/usr/bin/python3", "agent.py"], "3000").await?;
    assert_eq!(world.sandbox.callers.pending(), 0);
    Ok(())
}

async fn connecting_again() -> Result<(), Failed> {
    let world = World::new().await;
    let code = format!(
        "{ASK}
s = socket.socket(); s.connect(('192.0.2.1', 80))
print(s.connect_ex(('192.0.2.2', 80)), ask(s).split()[1])
b = socket.socket(); b.bind(('127.0.0.1', 5555)); b.connect(('192.0.2.3', 80)); print(ask(b).split()[1])
import array
p, q = socket.socketpair()
if os.fork() == 0:
    mine = socket.socket(); socket.send_fds(q, [b'x'], [mine.fileno()]); os._exit(0)
fd = socket.recv_fds(p, 9, 1)[1][0]; os.wait()
given = socket.socket(fileno=fd); given.connect(('192.0.2.4', 80)); print(ask(given).split()[1])
stream = socket.create_connection(('192.0.2.5', 80)); print(stream.sendto(b'hi', ('8.8.8.8', 1)))
print(socket.socket().connect_ex(('192.0.2.1', 0)))"
    );
    let outcome = world.run(&["/usr/bin/python3", "-c", &code]).await;
    assert!(outcome.output.starts_with("106 192.0.2.1:80\n192.0.2.3:80\n192.0.2.4:80\n2\n"), "{}", outcome.output);
    Ok(())
}

async fn a_connect_that_hangs_stops_no_other() -> Result<(), Failed> {
    let world = World::new().await;
    // A socket that takes nothing from further away than its own link is told (IP_MINTTL, ip(7)), and answers come with less: the
    // kernel sends its SYN again for two minutes.
    let code = format!(
        "{ASK}
import struct, threading, time
def deaf():
    s = socket.socket(); s.setsockopt(socket.IPPROTO_IP, 21, 255); return s
for n in range(8): threading.Thread(target=lambda: deaf().connect(('192.0.2.9', 80)), daemon=True).start()
time.sleep(1)
began = time.monotonic()
answers = {{ask(socket.create_connection(('192.0.2.1', 80))).split()[1] for n in range(20)}}
soon = time.monotonic() - began < 30
timed = deaf(); timed.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack('ll', 0, 300000))
never = deaf(); never.setblocking(False)
print(answers, soon, timed.connect_ex(('192.0.2.2', 80)), never.connect_ex(('192.0.2.3', 80)), flush=True)
os._exit(0)"
    );
    world.python(&code, "{'192.0.2.1:80'} True 115 115").await
}

async fn a_program_that_is_too_long_to_be_known_reaches_nothing() -> Result<(), Failed> {
    let world = World::new().await;
    let code = "import socket; print(socket.socket().connect_ex(('192.0.2.1', 80)))";
    world.write("agent.py", code);
    let run = "cp /usr/bin/python3 py && truncate -s 2G py && ./py agent.py";
    world.check(&["/bin/sh", "-c", run], "13").await?;
    assert_eq!(world.refused(), ["? 192.0.2.1:80 UnknownCaller"]);
    Ok(())
}

async fn what_nobody_may_do_is_told_once() -> Result<(), Failed> {
    let world = World::new().await;
    let code = "
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(*a): return (libc.syscall(*[ctypes.c_long(x) for x in a]), ctypes.get_errno())
for n in range(500):
    raw = call(41, 2, 3, 1)
print(raw, call(41, 10, 3, 58), call(41, 17, 3, 0), call(425, 8, 0), call(0x40000000 + 39))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(500):
    try: s.sendto(b'x', ('8.8.8.8', 443))
    except OSError as error: last = error.errno
print(last)";
    if cfg!(not(target_arch = "x86_64")) {
        return Ok(());
    }
    world.python(code, "(-1, 1) (-1, 1) (-1, 1) (-1, 38) (-1, 38)\n101").await?;
    let python = std::fs::canonicalize("/usr/bin/python3").unwrap();
    let expected = [":0 RawSocket", ":0 PacketSocket", ":0 IoUring", ":0 ForeignEntry", "8.8.8.8:443 Datagram"];
    // On a slow machine a loop takes longer than the ten seconds between two records.
    let mut refused = world.refused();
    assert!(refused.len() <= 25, "{} of 1003 calls are told", refused.len());
    refused.dedup();
    assert_eq!(refused, expected.map(|what| format!("{} {what}", python.display())));
    Ok(())
}
