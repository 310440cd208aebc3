//! Inspected TLS with no flags: each client trusts the sandbox's authority from the first second, and nothing else.

use std::process::Command;

use anyhow::{Result, ensure};
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
