//! Logging in by a real provider in a real browser: Django's OAuth toolkit and Chromium.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use openshell_tests::origin::Authority;
use openshell_tests::servers::{Server, python};
use openshell_tests::world::{Ran, World, finish};
use serde_json::Value;
use tokio::task::block_in_place;

const PROVIDER: &str = include_str!("provider.py");
const ANSWERER: &str = include_str!("answerer.py");
const BROWSER: &str = include_str!("browser.py");
/// For whom a provider's ID tokens are, and its access tokens.
const CLIENT: &str = "openshell-cli";
const RESOURCE: &str = "https://gateway.test";

/// A provider, and a gateway that believes it.
struct Stage {
    world: World,
    provider: Server,
    gateway: Server,
    url: String,
}

impl Stage {
    /// Tokens end after `seconds`; the gateway wants those for `audience`.
    fn new(seconds: u32, audience: &str) -> Result<Self> {
        let world = World::new()?;
        let provider = Server::python_with(PROVIDER, &[], &[&seconds.to_string()])?;
        let authority = Authority::new()?;
        let (certificate, key) = authority.issue(&["127.0.0.1".to_owned()])?;
        let issuer = format!("http://127.0.0.1:{}/o", provider.port);
        let files = [("tls.pem", format!("{certificate}{key}"))];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        let gateway = Server::python_with(ANSWERER, &files, &[&issuer, audience])?;
        world.write("ca.pem", authority.pem())?;
        let url = format!("https://127.0.0.1:{}", gateway.port);
        world.write("browser.py", BROWSER)?;
        Ok(Self { world, provider, gateway, url })
    }

    /// A browser whose user does this; what it shows goes to the file `shown`.
    fn browser(&self, does: &str) -> Result<String> {
        let script = format!(
            "#!/bin/sh\nexec {} {} {does} \"$1\" >{} 2>{}\n",
            python()?.display(),
            self.world.path("browser.py").display(),
            self.world.path("shown").display(),
            self.world.path("browser.log").display()
        );
        let path = self.world.write(&format!("browser-{does}"), &script)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(path.display().to_string())
    }

    async fn run(&self, words: &[&str]) -> Result<Ran> {
        finish(self.world.command(words)).await
    }

    /// `gateway add team …` with a browser whose user does this.
    async fn add(&self, does: &str) -> Result<Ran> {
        let ca = self.world.path("ca.pem").display().to_string();
        let mut command = self.world.command(&["gateway", "add", "team", &self.url, "--ca", &ca]);
        command.env("BROWSER", self.browser(does)?);
        finish(command).await
    }

    /// What a page showed, once it is shown: `shown CODE`, `ended …`.
    fn shown(&self, what: &str) -> Result<String> {
        let read = |name| std::fs::read_to_string(self.world.path(name)).unwrap_or_default();
        for _ in 0..200 {
            if let Some(line) = read("shown").lines().find_map(|line| line.strip_prefix(what)) {
                return Ok(line.trim().to_owned());
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        anyhow::bail!("no {what} in {:?}; {}", read("shown"), read("browser.log"))
    }

    /// The session, as it is kept.
    fn session(&self) -> Result<Value> {
        let path = self.world.path("config/openshell/gateways/team/session.json");
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata()?.permissions());
        ensure!(mode & 0o777 == 0o600, "{mode:o}");
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// How often the provider was asked so, and answered so.
    fn asked(&self, what: &str) -> usize {
        let log = std::fs::read_to_string(self.provider.path("requests.log")).unwrap_or_default();
        log.lines().filter(|line| *line == what).count()
    }
}

/// What a login says until `last` is among it, the address in that, and the rest of the stream, which must stay open.
fn directions(login: &mut Child, last: &str) -> Result<(String, String, BufReader<ChildStderr>)> {
    let mut stderr = BufReader::new(login.stderr.take().context("stderr")?);
    let told = block_in_place(|| {
        let mut told = String::new();
        while !told.contains(last) && stderr.read_line(&mut told)? > 0 {}
        Ok::<_, std::io::Error>(told)
    })?;
    let address = told.split_whitespace().find(|word| word.starts_with("http://")).context("an address")?.to_owned();
    Ok((told, address, stderr))
}

/// The code that the terminal shows.
fn code(stderr: &str) -> Result<String> {
    let line = stderr.lines().find(|line| line.contains("code:")).context("no code in the terminal")?;
    Ok(line.split_whitespace().last().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_logs_in_and_the_session_is_renewed_and_revoked() -> Result<()> {
    // Every command comes late enough to have to renew it.
    let stage = block_in_place(|| Stage::new(75, CLIENT))?;
    let added = stage.add("login").await?.ok()?;
    ensure!(added.stdout.contains("alice@example.test (operator, by oidc)"), "{added:?}");
    // Both places show the same code, before and after.
    ensure!(code(&added.stderr)? == stage.shown("shown")? && stage.shown("shown")? == stage.shown("ended")?);
    let first = stage.session()?;
    ensure!(first["user"] == "alice@example.test" && first["refresh_token"].is_string(), "{first}");
    ensure!(!added.stderr.contains(first["bearer"].as_str().context("a token")?), "{added:?}");

    tokio::time::sleep(std::time::Duration::from_secs(17)).await;
    // Eight at once: one of them renews it. (The provider takes everything back that uses a refresh token twice.)
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(tokio::spawn(finish(stage.world.command(&["sandbox", "list"]))));
    }
    for one in all {
        one.await??.ok()?;
    }
    ensure!(stage.asked("refresh_token 200") == 1, "asked {} times", stage.asked("refresh_token 200"));
    let second = stage.session()?;
    ensure!(second["bearer"] != first["bearer"] && second["refresh_token"] != first["refresh_token"], "not renewed");

    // What the provider took back can't be renewed, and is not what is sent any more.
    let out = stage.run(&["gateway", "logout", "team"]).await?.ok()?;
    ensure!(out.stderr.contains("logged out of gateway team"), "{out:?}");
    ensure!(stage.asked("revoke refresh_token 200") == 1 && stage.asked("revoke access_token 200") == 1);
    ensure!(stage.session().is_err(), "the session is kept");
    let refused = stage.run(&["sandbox", "list"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("gateway login team"), "{refused:?}");
    let path = stage.world.write("config/openshell/gateways/team/session.json", &second.to_string())?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    tokio::time::sleep(std::time::Duration::from_secs(17)).await;
    let refused = stage.run(&["sandbox", "list"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("has ended: invalid_grant"), "{refused:?}");
    let listed = stage.run(&["gateway", "list"]).await?.ok()?.stdout;
    ensure!(listed.contains("logged out"), "{listed}");
    drop(stage.gateway);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_the_browser_is_one_in_the_terminal() -> Result<()> {
    let stage = block_in_place(|| Stage::new(300, CLIENT))?;
    let refused = stage.add("deny").await?;
    ensure!(refused.code == 1 && refused.stderr.contains("the login was refused: access_denied"), "{refused:?}");
    ensure!(stage.shown("ended")?.contains("access_denied"));
    ensure!(stage.run(&["gateway", "list", "-o", "json"]).await?.ok()?.json()?.as_array().map(Vec::len) == Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_browser_a_code_is_typed_elsewhere() -> Result<()> {
    // The provider's access tokens are what this gateway wants.
    let stage = block_in_place(|| Stage::new(300, RESOURCE))?;
    let ca = stage.world.path("ca.pem").display().to_string();
    let mut command = stage.world.command(&["gateway", "add", "team", &stage.url, "--ca", &ca, "--device"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (told, address, _stderr) = directions(&mut child, "code:")?;
    let elsewhere =
        Command::new(python()?).arg(stage.world.path("browser.py")).args(["device", &address, &code(&told)?]).output();
    let elsewhere = block_in_place(|| elsewhere)?;
    ensure!(elsewhere.status.success(), "{}", String::from_utf8_lossy(&elsewhere.stderr));
    let ended = block_in_place(|| child.wait_with_output())?;
    ensure!(
        ended.status.success() && String::from_utf8_lossy(&ended.stdout).contains("alice@example.test"),
        "{ended:?}"
    );
    ensure!(stage.session()?["audience"] == RESOURCE);
    stage.run(&["sandbox", "list"]).await?.ok()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_into_a_login() -> Result<()> {
    let stage = block_in_place(|| Stage::new(300, CLIENT))?;
    let ca = stage.world.path("ca.pem").display().to_string();
    let mut command = stage.world.command(&["gateway", "add", "team", &stage.url, "--ca", &ca, "--no-browser"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let (told, begin, _stderr) = directions(&mut child, "go to")?;
    let base = begin.rsplit_once('/').context("a path")?.0.to_owned();
    let jar = stage.world.path("cookies").display().to_string();
    let curl = |words: &[&str]| -> Result<String> {
        let output = Command::new("curl").args(["-sS", "-w", "\n%{http_code} %{redirect_url}"]).args(words).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let callback = format!("{base}/callback?code=stolen&state=guessed");
    for (words, expected) in [
        (&[base.as_str()][..], "404"),
        (&["-H", "Host: evil.test", &begin], "403"),
        (&["-X", "POST", &begin], "403"),
        (&[&callback], "400"),
    ] {
        ensure!(curl(words)?.contains(&format!("\n{expected} ")), "{words:?}");
    }
    // The first page is for one browser.
    let page = curl(&["-c", &jar, &begin])?;
    ensure!(page.contains("\n200 ") && page.contains(&code(&told)?), "{page}");
    ensure!(curl(&[&begin])?.contains("\n410 "), "it opens twice");
    let go = page.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).context("a way on")?;
    let go = format!("{base}{go}");
    ensure!(curl(&[&go])?.contains("\n404 "), "another browser goes on");
    let away = curl(&["-b", &jar, &go])?;
    let away = away.rsplit("\n303 ").next().context("a way to the provider")?;
    for wanted in ["code_challenge_method=S256", "code_challenge=", "nonce=", "state=", "response_type=code"] {
        ensure!(away.contains(wanted), "no {wanted} in {away}");
    }
    // An answer to another login, or to this one from another browser, changes nothing.
    ensure!(curl(&["-b", &jar, &callback])?.contains("\n400 "), "a guessed state is taken");
    let state = away.split("state=").nth(1).and_then(|rest| rest.split('&').next()).context("a state")?;
    ensure!(
        curl(&[&format!("{base}/callback?code=x&state={state}")])?.contains("\n400 "),
        "another browser's is taken"
    );
    let mixed = format!("{base}/callback?code=x&state={state}&iss=https://evil.test");
    ensure!(curl(&["-b", &jar, &mixed])?.contains("\n400 "), "another provider's is taken");
    ensure!(child.try_wait()?.is_none(), "the login ended");
    // A code that the provider never gave out ends it.
    let ended = curl(&["-b", &jar, &format!("{base}/callback?code=x&state={state}")])?;
    ensure!(ended.contains("Not logged in"), "{ended}");
    ensure!(!block_in_place(|| child.wait())?.success());
    Ok(())
}
