//! Servers that are not HTTP, judged by name all the same: real clients in a sandbox, real servers from packages.

use anyhow::{Result, ensure};
use openshell_tests::origin::Authority;
use openshell_tests::servers::{Server, python};
use tokio::task::block_in_place;

use crate::support::Stage;

const HOSTS: [&str; 4] = ["db.test", "cache.test", "git.test", "rpc.test"];

/// A world whose sandbox knows the names of [`HOSTS`].
async fn stage() -> Result<Stage> {
    Stage::knowing(&HOSTS).await
}

/// The same, which trusts who has this certificate of `rpc.test` and its key.
async fn trusting() -> Result<(Stage, String, String)> {
    let authority = Authority::new()?;
    let stage = Stage::trusting(&authority, &HOSTS).await?;
    let (certificate, key) = authority.issue(&["rpc.test".to_owned()])?;
    Ok((stage, certificate, key))
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_and_redis() -> Result<()> {
    let stage = stage().await?;
    let (postgres, redis) = block_in_place(|| anyhow::Ok((Server::postgres()?, Server::redis()?)))?;
    let rules = format!(
        "version: 1
network_policies:
  data:
    endpoints:
      - {{host: db.test, port: {}, protocol: tcp, allowed_ips: [127.0.0.0/8]}}
    binaries: [{{path: '/usr/lib/postgresql/*/bin/psql'}}]
  cache:
    endpoints:
      - {{host: cache.test, port: {}, protocol: tcp, allowed_ips: [127.0.0.0/8]}}
    binaries: [{{path: /usr/bin/redis-cli}}]
",
        postgres.port, redis.port
    );
    stage.rules(&rules).await?.ok()?;
    let psql = |host: &str, mode: &str| {
        format!("psql 'host={host} port={} user=postgres sslmode={mode} connect_timeout=5' -Atc", postgres.port)
    };
    let redis_cli = |host: &str| format!("redis-cli -h {host} -p {}", redis.port);
    stage
        .check(&[
            (&format!("{} 'select 6*7'", psql("db.test", "disable")), "42\n"),
            (
                &format!("{} 'select ssl from pg_stat_ssl where pid=pg_backend_pid()'", psql("db.test", "require")),
                "t\n",
            ),
            // 8 MB each way.
            (&format!("{} \"select length(repeat('x', 8000000))\"", psql("db.test", "disable")), "8000000\n"),
            (&format!("{} \"select repeat('x', 8000000)\" | wc -c", psql("db.test", "disable")), "8000001\n"),
            (&format!("{} 'select 1'; echo code=$?", psql("cache.test", "disable")), "code=2\n"),
            (&format!("{} set k v; {0} get k", redis_cli("cache.test")), "OK\nv\n"),
            (&format!("seq 1 2000 | sed 's/.*/incr n/' | {} | tail -1", redis_cli("cache.test")), "2000\n"),
            // The right server by the wrong program, and the right program by an address instead of a name.
            (
                &format!(
                    "bash -c 'exec 3<>/dev/tcp/cache.test/{}; printf \"PING\\r\\n\" >&3; cat <&3' 2>&1 | grep -c PONG",
                    redis.port
                ),
                "0\n",
            ),
            (&format!("{} ping; echo code=$?", redis_cli("127.0.0.1")), "code=1\n"),
        ])
        .await?;
    let refused = stage.run(&["decisions", "--sandbox", "demo", "-o", "json"]).await?.ok()?;
    ensure!(refused.stdout.contains(r#""deny""#), "refusals are recorded: {}", refused.stdout);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_over_ssh() -> Result<()> {
    let stage = stage().await?;
    let sshd = block_in_place(Server::sshd)?;
    let rules = format!(
        "version: 1
network_policies:
  code:
    endpoints: [{{host: git.test, port: {}, protocol: tcp, allowed_ips: [127.0.0.0/8]}}]
    binaries: [{{path: /usr/bin/ssh}}]
",
        sshd.port
    );
    stage.rules(&rules).await?.ok()?;
    let (repository, key) = (sshd.path("repository.git"), std::fs::read_to_string(sshd.path("client"))?);
    let user = std::process::Command::new("id").arg("-un").output()?.stdout;
    let url = format!("ssh://{}@git.test:{}{}", String::from_utf8(user)?.trim(), sshd.port, repository.display());
    let made = std::process::Command::new("git").args(["init", "-q", "--bare"]).arg(&repository).status()?;
    ensure!(made.success(), "git init");
    let prepare = format!(
        "set -e; cd $(mktemp -d); umask 077; cat >key <<'END'\n{key}END\n\
         export GIT_SSH_COMMAND=\"ssh -i $PWD/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=$PWD/known -o BatchMode=yes\""
    );
    stage
        .check(&[
            (
                &format!(
                    "{prepare}; git init -q here; cd here; head -c 3000000 /dev/urandom >big; git add big; \
                     git -c user.name=a -c user.email=a@b.test commit -qm big; git push -q {url} HEAD:refs/heads/main; \
                     git clone -q -b main {url} ../there; cmp big ../there/big && echo same"
                ),
                "same\n",
            ),
            // Another name for the same server is another destination.
            (
                &format!("{prepare}; git clone -q {} x; echo code=$?", url.replace("git.test", "db.test")),
                "Could not read from remote repository",
            ),
        ])
        .await
}

/// The cookbook's rules: who may fetch may not push.
#[tokio::test(flavor = "multi_thread")]
async fn git_over_https() -> Result<()> {
    let (stage, certificate, key) = trusting().await?;
    let server = block_in_place(|| Server::python(GIT_SERVER, &[("cert.pem", &*certificate), ("key.pem", &*key)]))?;
    let made = std::process::Command::new("sh").current_dir(server.path("")).args(["-ec", MAKE_REPOSITORY]).output()?;
    ensure!(made.status.success(), "{made:?}");
    let rules = format!(
        "version: 1
network_policies:
  code:
    endpoints:
      - host: rpc.test
        port: {}
        protocol: rest
        rules:
          - allow: {{method: GET, path: '/*/*/info/refs'}}
          - allow: {{method: POST, path: '/*/*/git-upload-pack'}}
        allowed_ips: [127.0.0.0/8]
    binaries: [{{path: '/usr/**/git-core/git-remote-http*'}}]
",
        server.port
    );
    stage.rules(&rules).await?.ok()?;
    let url = format!("https://rpc.test:{}/team/code.git", server.port);
    let push = format!(
        "git -C $d/whole -c user.name=a -c user.email=a@b.test commit -q --allow-empty -m more && \
         git -C $d/whole push -q {url} HEAD:main; echo code=$?"
    );
    stage
        .check(&[
            (
                &format!(
                    "d=$(mktemp -d); git clone -q {url} $d/whole && git clone -q --depth 1 {url} $d/shallow && \
                     git -C $d/whole log --oneline | wc -l; git -C $d/shallow log --oneline | wc -l; {push}"
                ),
                "2\n1\ncode=1\n",
            ),
            (&format!("git ls-remote {url} main | cut -f2"), "refs/heads/main\n"),
            (&format!("curl -sS -o /dev/null -w '%{{http_code}}' {url}/info/refs || true"), "403"),
        ])
        .await?;
    let mut count = std::process::Command::new("git");
    let count =
        count.arg("-C").arg(server.path("team/code.git")).args(["rev-list", "--count", "main"]).output()?.stdout;
    ensure!(count == b"2\n", "it was pushed to: {}", String::from_utf8_lossy(&count));
    Ok(())
}

/// Two commits, one of them large, in a bare repository.
const MAKE_REPOSITORY: &str = "git init -q -b main made && cd made && head -c 3000000 /dev/urandom >big && git add big && \
    git -c user.name=a -c user.email=a@b.test commit -qm one && \
    git -c user.name=a -c user.email=a@b.test commit -q --allow-empty -m two && \
    mkdir -p ../team && git clone -q --bare . ../team/code.git && git -C ../team/code.git config http.receivepack true";
const GIT_SERVER: &str = include_str!("servers/git_server.py");
const RPC_SERVER: &str = include_str!("servers/rpc_server.py");
const RPC_CLIENT: &str = include_str!("servers/rpc_client.py");
const SOCKET_SERVER: &str = include_str!("servers/socket_server.py");
const SOCKET_CLIENT: &str = include_str!("servers/socket_client.py");
const HINTS: &str = include_str!("servers/hints.mjs");
const HINTS_CLIENT: &str = include_str!("servers/hints_client.mjs");
const MANY_CLIENT: &str = include_str!("servers/many_client.mjs");

#[tokio::test(flavor = "multi_thread")]
async fn grpc_in_the_clear_and_over_tls() -> Result<()> {
    let (stage, certificate, key) = trusting().await?;
    for tls in [true, false] {
        let files = if tls { vec![("cert.pem", &*certificate), ("key.pem", &*key)] } else { vec![] };
        let server = block_in_place(|| Server::python(RPC_SERVER, &files))?;
        let rules = format!(
            "version: 1
network_policies:
  rpc:
    endpoints:
      - host: rpc.test
        port: {}
        protocol: rest
        rules: [{{allow: {{method: POST, path: '/echo.Echo/*'}}}}]
        deny_rules: [{{method: POST, path: '/echo.Echo/Secret'}}]
        allowed_ips: [127.0.0.0/8]
    binaries: [{{path: '/usr/bin/python3*'}}]
",
            server.port
        );
        stage.rules(&rules).await?.ok()?;
        stage.upload("rpc_client.py", RPC_CLIENT).await?;
        let run = format!("{} rpc_client.py rpc.test:{} {tls}", python()?.display(), server.port);
        stage
            .check(&[(
                &run,
                "unary hello\nserver 0 1 2\nclient 6\nboth 1 2 3\ntrailer yes\nmissing NOT_FOUND\nsecret PERMISSION_DENIED\n",
            )])
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets() -> Result<()> {
    let (stage, certificate, key) = trusting().await?;
    let files = [("cert.pem", &*certificate), ("key.pem", &*key)];
    let server = block_in_place(|| Server::python(SOCKET_SERVER, &files))?;
    let rules = format!(
        "version: 1
network_policies:
  chat:
    endpoints:
      - host: rpc.test
        port: {}
        protocol: websocket
        rules: [{{allow: {{method: GET, path: /open}}}}]
        allowed_ips: [127.0.0.0/8]
    binaries: [{{path: '/usr/bin/python3*'}}]
",
        server.port
    );
    stage.rules(&rules).await?.ok()?;
    stage.upload("socket_client.py", SOCKET_CLIENT).await?;
    let run = format!("{} socket_client.py wss://rpc.test:{}", python()?.display(), server.port);
    stage.check(&[(&run, "text hello\nbinary 2000000\nping ok\nclosed 1000\nsecret 403\n")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints() -> Result<()> {
    let (stage, certificate, key) = trusting().await?;
    let server = block_in_place(|| Server::node(HINTS, &[("cert.pem", &*certificate), ("key.pem", &*key)]))?;
    let rules = format!(
        "version: 1
network_policies:
  hints:
    endpoints: [{{host: rpc.test, port: {}, protocol: rest, access: read-only, allowed_ips: [127.0.0.0/8]}}]
    binaries: [{{path: /usr/bin/curl}}, {{path: '/usr/bin/node*'}}]
",
        server.port
    );
    stage.rules(&rules).await?.ok()?;
    stage.upload("client.mjs", HINTS_CLIENT).await?;
    let url = format!("https://rpc.test:{}", server.port);
    let (curl, link) = (format!("curl -sS -i {url}/ --http"), "link: </style.css>; rel=preload; as=style");
    stage
        .check(&[
            (&format!("{curl}1.1 | head -2 | tr -d '\\r'"), &format!("HTTP/1.1 103 Early Hints\n{link}\n")),
            (&format!("{curl}2 | head -2 | tr -d '\\r'"), &format!("HTTP/2 103 \n{link}\n")),
            (&format!("{curl}2 | tail -1"), "answered over 2.0\n"),
            (
                &format!("node client.mjs {url}"),
                "hint 103 </style.css>; rel=preload; as=style\nanswer 200\nanswered over 2.0\n",
            ),
        ])
        .await
}

/// nginx ends a connection after so many requests, and takes none of those that are under way towards it.
#[tokio::test(flavor = "multi_thread")]
async fn what_nginx_did_not_take_is_sent_again_and_once() -> Result<()> {
    let (stage, certificate, key) = trusting().await?;
    let settings = "server { listen LISTEN ssl http2; keepalive_requests 20; ssl_certificate HERE/cert.pem;
        ssl_certificate_key HERE/key.pem; location / { return 200 ok; } }";
    let files = [("cert.pem", &*certificate), ("key.pem", &*key)];
    let nginx = block_in_place(|| Server::nginx(settings, &files))?;
    let rules = format!(
        "version: 1
network_policies:
  many:
    endpoints: [{{host: rpc.test, port: {}, protocol: rest, access: read-write, allowed_ips: [127.0.0.0/8]}}]
    binaries: [{{path: '/usr/bin/node*'}}]
",
        nginx.port
    );
    stage.rules(&rules).await?.ok()?;
    stage.upload("client.mjs", MANY_CLIENT).await?;
    let script = format!("node client.mjs https://rpc.test:{}", nginx.port);
    stage.check(&[(&script, "{\"200\":400}\n")]).await?;
    let taken = std::fs::read_to_string(nginx.path("access.log"))?.lines().count();
    ensure!(taken == 400, "nginx answered {taken} requests");
    Ok(())
}
