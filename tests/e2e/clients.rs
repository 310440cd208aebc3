//! Inspected TLS with no flags: each client trusts the sandbox's authority from the first second, and nothing else.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use openshell_tests::origin::{Authority, Origin, OriginConfig};
use openshell_tests::servers::python;
use tokio::net::TcpListener;

use crate::support::{Stage, eventually};

/// Whatever the client, the origin.
const ANY: &str = "version: 1
network_policies:
  api:
    endpoints:
      - {host: api.demo.test, port: PORT, protocol: rest, access: read-only, allowed_ips: [127.0.0.0/8]}
      - {host: packages.test, port: ARCHIVE, protocol: rest, access: read-only, allowed_ips: [127.0.0.0/8]}
    binaries: [{path: '**'}]
";

const GO: &str = r#"package main
import ("fmt"; "io"; "net/http"; "os")
func main() {
  answer, err := http.Get(os.Args[1])
  if err != nil { fmt.Println(err); os.Exit(1) }
  body, _ := io.ReadAll(answer.Body)
  fmt.Print("go ", string(body))
}
"#;

const JAVA: &str = r#"import java.net.URI;
import java.net.http.*;
class Get {
  public static void main(String[] arguments) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
    System.out.print("java " + HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
  }
}
"#;

/// A wheel of an empty package.
const WHEEL: &str = r#"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("demo.py", "")
    info = "demo-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "")
"#;

/// An origin called `packages.test` with an index of one wheel, a registry of one package and a Debian archive of none.
async fn archive(stage: &Stage, authority: &Authority) -> Result<Origin> {
    let world = &stage.world;
    world
        .write("site/simple/demo/index.html", "<a href=\"/demo-1.0-py3-none-any.whl\">demo-1.0-py3-none-any.whl</a>")?;
    let maker = world.write("wheel.py", WHEEL)?;
    let made = Command::new("python3").arg(maker).arg(world.path("site/demo-1.0-py3-none-any.whl")).status()?;
    ensure!(made.success(), "the wheel was not made");
    let versions =
        r#"{"name":"demo","dist-tags":{"latest":"1.2.3"},"versions":{"1.2.3":{"name":"demo","version":"1.2.3"}}}"#;
    world.write("site/demo", versions)?;
    world.write("site/debian/Packages", "")?;
    let config = OriginConfig { name: "packages".into(), directory: Some(world.path("site")), log: None };
    Origin::start(TcpListener::bind("127.0.0.1:0").await?, config, Some((authority, &["packages.test".to_owned()])))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_trusts_the_inspecting_proxy() -> Result<()> {
    let authority = Authority::new()?;
    let stage = Stage::trusting(&authority, &["packages.test"]).await?;
    let packages = archive(&stage, &authority).await?.address.port();
    stage.rules(&ANY.replace("ARCHIVE", &packages.to_string())).await?.ok()?;
    let packages = format!("PACKAGES=https://packages.test:{packages};");
    let python = python()?.display().to_string();
    let bin = python.trim_end_matches("python3").to_owned();
    stage.upload("get.go", GO).await?;
    stage.upload("Get.java", JAVA).await?;
    let py = |code: &str| format!("{python} -c \"{code}\" $API/");
    let hello = "hello from the origin";
    let rows: &[(&str, &str)] = &[
        ("curl -sS $API/", hello),
        ("wget -qO- $API/", hello),
        ("gnutls-cli --port ${API##*:} api.demo.test </dev/null", "The certificate is trusted"),
        (
            "openssl s_client -connect ${API#https://} -verify_return_error </dev/null 2>&1",
            "Verify return code: 0 (ok)",
        ),
        ("git ls-remote $API/nothing.git", "is this a git repository?"),
        (&py("import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read())"), hello),
        (&py("import sys, requests; print(requests.get(sys.argv[1]).text)"), hello),
        (&py("import sys, httpx; print(httpx.Client(http2=True).get(sys.argv[1]).text)"), hello),
        (
            &py("import sys, asyncio, aiohttp
async def main():
  async with aiohttp.ClientSession() as session:
    print(await (await session.get(sys.argv[1])).text())
asyncio.run(main())"),
            hello,
        ),
        (
            &format!(
                "{packages} cd $(mktemp -d) && {python} -m pip download -q --no-deps --index-url $PACKAGES/simple demo && ls"
            ),
            "demo-1.0-py3-none-any.whl",
        ),
        (
            &format!(
                "{packages} cd $(mktemp -d) && HOME=$PWD {bin}uv --no-cache pip install --target t --python {python} --index-url $PACKAGES/simple demo"
            ),
            "demo==1.0",
        ),
        ("node -e \"fetch(process.argv[1]).then(a => a.text()).then(console.log)\" $API/", hello),
        ("node -e \"require('https').get(process.argv[1], a => a.pipe(process.stdout))\" $API/", hello),
        (
            &format!(
                "{packages} cd $(mktemp -d) && HOME=. npm view demo version --registry $PACKAGES/ --no-update-notifier"
            ),
            "1.2.3",
        ),
        ("HOME=$(mktemp -d) go run get.go $API/", "go hello from the origin"),
        ("java Get.java $API/", "java hello from the origin"),
        (
            &format!(
                "{packages} cd $(mktemp -d) && mkdir -p lists/partial cache && echo \"deb [trusted=yes] $PACKAGES/debian ./\" >sources && \
             apt-get -o Dir::Etc::sourcelist=$PWD/sources -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$PWD/lists \
             -o Dir::Cache=$PWD/cache -o APT::Sandbox::User= update; ls lists"
            ),
            "_debian_._Packages",
        ),
        // The bundle was added to, not replaced, and the machine's own files are as they were.
        ("grep -c BEGIN $SSL_CERT_FILE | awk '{print ($1 > 100) ? \"all roots\" : \"few roots\"}'", "all roots"),
    ];
    stage.check(rows).await?;
    let outside = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt")?;
    let inside = stage.inside("cat /etc/ssl/certs/ca-certificates.crt").await?.ok()?.stdout;
    ensure!(inside.len() > outside.len(), "the sandbox's bundle holds no more than the machine's");
    Ok(())
}

/// Asks for its first argument, with this among its options.
const NODE: &str = r#"
const options = { OPTION };
const request = require("https").get(process.argv[2], options, answer => answer.pipe(process.stdout));
request.on("error", error => console.log("refused:", error.code || error.message));
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_without_a_word_is_suspected() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(&ANY.replace("ARCHIVE", "1")).await?.ok()?;
    stage.upload("roots.pem", &std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt")?).await?;
    stage.upload("own.js", &NODE.replace("OPTION", "ca: require('fs').readFileSync('roots.pem')")).await?;
    stage.upload("pinned.js", &NODE.replace("OPTION", "checkServerIdentity: () => new Error('pinned')")).await?;
    let pin = format!("sha256//{}=", "A".repeat(43));
    stage
        .check(&[
            (&format!("curl -sS --pinnedpubkey {pin} $API/; echo code=$?"), "code=90"),
            ("node own.js $API/", "refused: "),
            ("node pinned.js $API/", "refused: pinned"),
            // Opened, and not needed: that is nobody's refusal.
            ("sleep 4 | openssl s_client -connect ${API#https://} 2>&1; echo ended", "ended"),
        ])
        .await?;
    let doctor = ["doctor", "tls", "--sandbox", "demo", "-o", "json"];
    let mut told = stage.run(&doctor).await?;
    eventually("doctor tells of all three", 100, async || {
        told = stage.run(&doctor).await?;
        Ok(told.json()?.as_array().is_some_and(|found| found.len() >= 3))
    })
    .await?;
    ensure!(told.code == 1, "{told:?}");
    let found = told.json()?;
    let found = found.as_array().map_or(&[][..], Vec::as_slice);
    for (program, script) in [("/curl", ""), ("/node", "/own.js"), ("/node", "/pinned.js")] {
        let one = found.iter().find(|one| {
            one["executable"].as_str().is_some_and(|path| path.ends_with(program))
                && one["script"].as_str().unwrap_or_default().ends_with(script)
        });
        let one = one.with_context(|| format!("no {program} {script} in {found:?}"))?;
        let reason = one["reason"].as_str().unwrap_or_default();
        ensure!(one["certainty"] == "suspected" && reason.contains("as clients may that pin a certificate"), "{one}");
    }
    ensure!(found.len() == 3, "{found:?}");
    let text = stage.run(&["doctor", "tls", "--sandbox", "demo"]).await?.stdout;
    ensure!(text.contains("(1 time, suspected)") && text.contains("tls: skip"), "{text}");
    // A program whose requests arrive trusts the proxy: it may hang up as it likes.
    stage.check(&[("curl -sS $API/", "hello from the origin")]).await?;
    eventually("doctor tells of the request", 100, async || {
        let text = stage.run(&["doctor", "tls", "--sandbox", "demo"]).await?.stdout;
        Ok(text.contains("its requests arrive there as well"))
    })
    .await
}

/// [`Stage::check`] in the sandbox `own`.
async fn check_own(stage: &Stage, rows: &[(&str, &str)]) -> Result<()> {
    for (script, expected) in rows {
        let script = format!("API={}; {script}", stage.api);
        let ran = stage.run(&["sandbox", "exec", "own", "--", "sh", "-c", &script]).await?;
        let output = format!("{}{}", ran.stdout, ran.stderr);
        ensure!(output.contains(expected), "{script}\n  expected {expected:?} in:\n{output}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_that_variables_name_are_added_to() -> Result<()> {
    let stage = Stage::new().await?;
    let python = python()?.display().to_string();
    let root = "/etc/ssl/certs/ISRG_Root_X1.pem";
    let named = [
        // The machine's, the workload's own, and nothing.
        format!("SSL_CERT_FILE={root}"),
        "REQUESTS_CA_BUNDLE=own.pem".to_owned(),
        "NODE_EXTRA_CA_CERTS=/nowhere/ca.pem".to_owned(),
    ];
    let mut create = vec!["sandbox", "create", "--name", "own", "--add-host", "api.demo.test:127.0.0.1"];
    create.extend(named.iter().flat_map(|pair| ["--env", pair.as_str()]));
    stage.run(&create).await?.ok()?;
    let rules = ANY.replace("ARCHIVE", "1").replace("PORT", &stage.origin.address.port().to_string());
    let rules = stage.world.write("own.yaml", &rules)?;
    stage.run(&["policy", "set", "own", "--policy", &rules.to_string_lossy()]).await?.ok()?;
    let urllib = format!("{python} -c \"import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read())\" $API/");
    let requests = format!("{python} -c \"import sys, requests; print(requests.get(sys.argv[1]).text)\" $API/");
    let hello = "hello from the origin";
    check_own(
        &stage,
        &[
            ("echo $SSL_CERT_FILE", root),
            ("grep -c BEGIN $SSL_CERT_FILE | awk '{print ($1 > 1) ? \"added\" : \"alone\"}'", "added"),
            (&urllib, hello),
            ("echo $NODE_EXTRA_CA_CERTS", "/run/openshell/ca.pem"),
            ("node -e \"fetch(process.argv[1]).then(a => a.text()).then(console.log)\" $API/", hello),
            ("echo $REQUESTS_CA_BUNDLE", "/run/openshell/ca.pem"),
            (&requests, hello),
        ],
    )
    .await?;
    // The workload's own, once there is one, is copied when the sandbox starts, and stays its own.
    let own = stage.world.write("own.pem", &std::fs::read_to_string(root)?)?;
    stage.run(&["sandbox", "upload", "own", &own.to_string_lossy()]).await?.ok()?;
    stage.run(&["sandbox", "stop", "own"]).await?.ok()?;
    stage.run(&["sandbox", "start", "own"]).await?.ok()?;
    check_own(
        &stage,
        &[
            ("echo $REQUESTS_CA_BUNDLE", "/run/openshell/REQUESTS_CA_BUNDLE.pem"),
            ("grep -qF \"$(sed -n 2p own.pem)\" $REQUESTS_CA_BUNDLE && echo added", "added"),
            (&requests, hello),
            ("rm own.pem && echo removed", "removed"),
            (&urllib, hello),
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_client_is_explained() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(&ANY.replace("ARCHIVE", "1")).await?.ok()?;
    let healthy = stage.run(&["doctor", "tls", "--sandbox", "demo"]).await?.ok()?;
    ensure!(healthy.stdout.contains("no program refused"), "{healthy:?}");
    // It is told of the machine's roots alone, as a program that carries its own would be.
    stage.upload("roots.pem", &std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt")?).await?;
    let ran = stage.inside("curl -sS --cacert roots.pem $API/; echo code=$?").await?;
    ensure!(ran.stdout.contains("code=60"), "it accepted the proxy's certificate: {ran:?}");
    let port = stage.origin.address.port();
    // A refusal is on record a moment after it was made.
    let mut explained = healthy;
    eventually("doctor tells of a refusal", 100, async || {
        explained = stage.run(&["doctor", "tls", "--sandbox", "demo"]).await?;
        Ok(explained.code == 1)
    })
    .await?;
    for part in ["/usr/bin/curl in demo", &format!("api.demo.test:{port} (1 time)"), "UnknownCA", "tls: skip"] {
        ensure!(explained.stdout.contains(part), "no {part:?} in {}", explained.stdout);
    }
    // What it recommends helps: the origin's own certificate arrives, which these roots do not hold either.
    let skip = ANY.replace("ARCHIVE", "1").replace("protocol: rest, access: read-only, allowed", "tls: skip, allowed");
    stage.rules(&skip).await?.ok()?;
    stage.upload("roots.pem", &std::fs::read_to_string(stage.world.path("origins.pem"))?).await?;
    stage.check(&[("curl -sS --cacert roots.pem $API/", "hello from the origin")]).await
}
