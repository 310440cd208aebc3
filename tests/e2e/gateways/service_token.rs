//! Behind a Cloudflare Access that lets a service token pass: nginx asks for its two headers and adds what Access asserts of it, signed
//! by the team's key.

use anyhow::{Result, ensure};
use openshell_tests::origin::Authority;
use openshell_tests::servers::Server;
use openshell_tests::world::World;
use tokio::task::block_in_place;

use super::at;
use crate::support::{READ_ONLY, Stage};

const CLIENT: &str = "ci.access";
const SECRET: &str = "the-secret-of-the-service-token";
const AUDIENCE: &str = "tag-of-the-application";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_token_opens_what_access_guards() -> Result<()> {
    let team = block_in_place(|| Server::python_with(include_str!("access.py"), &[], &[CLIENT, AUDIENCE]))?;
    let assertion = std::fs::read_to_string(team.path("assertion"))?;
    let world = World::new()?;
    let authority = Authority::new()?;
    let ca = world.write("origins.pem", authority.pem())?.display().to_string();
    let socket = world.path("proxy.sock").display().to_string();
    let issuer = format!("http://127.0.0.1:{}", team.port);
    let words = ["gateway", "start", "--upstream-ca", &ca, "--proxy-socket", &socket, "--"];
    let access = ["--access-issuer", &issuer, "--access-audience", AUDIENCE, "--access-default-role", "operator"];
    block_in_place(|| world.run(&[&words[..], &access].concat()))?.ok()?;
    let stage = Stage::within(world, &authority, &[], "true").await?;
    stage.rules(READ_ONLY).await?.ok()?;

    let servers = format!(
        "map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }} \
         map \"$http_cf_access_client_id $http_cf_access_client_secret\" $known {{ default no; '{CLIENT} {SECRET}' yes; }} \
         server {{ listen LISTEN ssl; ssl_certificate HERE/tls.pem; ssl_certificate_key HERE/tls.key; location / {{ \
         if ($known = no) {{ return 302 https://team.cloudflareaccess.com/cdn-cgi/access/login/gateway?kid={AUDIENCE}; }} \
         proxy_pass http://unix:{socket}; proxy_http_version 1.1; proxy_set_header Host $host; \
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; \
         proxy_set_header CF-Access-Client-Id ''; proxy_set_header CF-Access-Client-Secret ''; \
         proxy_set_header Cf-Access-Jwt-Assertion '{assertion}'; client_max_body_size 64m; }} }}"
    );
    let (certificate, key) = authority.issue(&["127.0.0.1".to_owned()])?;
    let files = [("tls.pem", certificate.as_str()), ("tls.key", key.as_str())];
    let nginx = block_in_place(|| Server::nginx(&servers, &files))?;
    let url = format!("https://127.0.0.1:{}", nginx.port);

    // Without it, and with another one: what stands there, and what to do. Nothing is kept.
    let headers = |name: &str, secret: &str| {
        let text = format!("CF-Access-Client-Id: {CLIENT}\nCF-Access-Client-Secret: {secret}\n");
        anyhow::Ok(stage.world.write(name, &text)?.display().to_string())
    };
    let (right, wrong) = (headers("right", SECRET)?, headers("wrong", "another")?);
    let half = stage.world.write("half", &format!("CF-Access-Client-Id: {CLIENT}\n"))?.display().to_string();
    let add = async |more: &[&str]| stage.run(&[&["gateway", "add", "team", &url, "--ca", &ca], more].concat()).await;
    for (more, expected) in [
        (vec![], "--service-token-file FILE"),
        (vec!["--service-token-file", &wrong], "leads to https://team.cloudflareaccess.com"),
        (vec!["--service-token-file", &half], "the header cf-access-client-secret once"),
    ] {
        let refused = add(&more).await?;
        ensure!(refused.code == 1 && refused.stderr.contains(expected), "{more:?}: {refused:?}");
    }
    let listed = stage.run(&["gateway", "list"]).await?.ok()?.stdout;
    ensure!(!listed.contains("team"), "{listed}");

    // With it, one is whom Access says, for calls and for WebSockets.
    let added = add(&["--service-token-file", &right, "-o", "json"]).await?.ok()?.json()?;
    ensure!(added["whoami"]["user"] == format!("access-service:{CLIENT}") && added["logged_in"] == true, "{added}");
    let kept = stage.world.path("config/openshell/gateways/team");
    let mode =
        |name: &str| anyhow::Ok(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(kept.join(name))?) & 0o777);
    ensure!(mode("service-token")? == 0o600 && !std::fs::read_to_string(kept.join("gateway.json"))?.contains(SECRET));
    let there = async |words: &[&str]| at(&stage.world, "team", words).await;
    there(&["sandbox", "create", "--name", "second"]).await?.ok()?;
    ensure!(there(&["sandbox", "exec", "second", "--", "echo", "through"]).await?.ok()?.stdout == "through\n");
    ensure!(there(&["sandbox", "logs", "second"]).await?.code == 0);
    let audit =
        at(&stage.world, "local", &["audit", "list", "--action", "sandbox.create", "-o", "json"]).await?.ok()?;
    ensure!(audit.stdout.contains(&format!("access-service:{CLIENT}")), "{}", audit.stdout);
    there(&["sandbox", "delete", "second"]).await?.ok()?;

    // A token of the gateway's own counts more than what Access says; the service token lets it through.
    let token = stage.world.path("state/openshell/gateway/admin.token").display().to_string();
    there(&["gateway", "login", "team", "--token-file", &token]).await?.ok()?;
    let status = there(&["gateway", "status", "team", "-o", "json"]).await?.ok()?.json()?;
    ensure!(status["whoami"]["user"] == "admin", "{status}");
    there(&["gateway", "login", "team", "--service-token-file", &right]).await?.ok()?;
    let status = there(&["gateway", "status", "team", "-o", "json"]).await?.ok()?.json()?;
    ensure!(status["whoami"]["user"] == format!("access-service:{CLIENT}"), "{status}");

    there(&["gateway", "logout", "team"]).await?.ok()?;
    ensure!(!kept.join("service-token").exists());
    let out = there(&["sandbox", "list"]).await?;
    ensure!(out.code == 1 && out.stderr.contains("not logged in"), "{out:?}");
    stage.run(&["gateway", "remove", "team"]).await?.ok()?;
    Ok(())
}
