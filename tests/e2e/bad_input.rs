//! Bad input: a clear error that says what to do, exit code ≠ 0, nothing half-applied.

use anyhow::{Result, ensure};

use crate::support::{READ_ONLY, Stage};

/// The smallest component: `(component)`.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// The smallest core module: `(module)`.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_clear_and_change_nothing() -> Result<()> {
    let stage = Stage::new().await?;
    stage.rules(READ_ONLY).await?.ok()?;
    let before = stage.run(&["policy", "history", "demo", "-o", "json"]).await?.ok()?.json()?;

    let file = |name: &str, bytes: &[u8]| -> Result<String> {
        let path = stage.world.path(name);
        std::fs::write(&path, bytes)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let not_wasm = file("not.wasm", b"this is no module")?;
    let core = file("core.wasm", EMPTY_MODULE)?;
    let empty = file("empty.wasm", EMPTY_COMPONENT)?;
    let huge = file("huge.wasm", b"")?;
    std::fs::File::options().write(true).open(&huge)?.set_len(200 << 20)?;
    let push = |path: &str| vec!["policy".to_owned(), "push".into(), path.into(), "--sandbox".into(), "demo".into()];
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();

    let rows: Vec<(Vec<String>, &str)> = vec![
        (push(&not_wasm), "not"),
        (push(&core), "core webassembly module"),
        (push(&empty), "configure"),
        (push(&huge), "mib"),
        (push("/nowhere/at/all"), "/nowhere/at/all"),
        (words("policy push /nowhere --sandbox gone"), "error"),
        (words("sandbox create --name demo"), "demo"),
        (words("sandbox create --name Not_A_Name"), "name"),
        (words("sandbox exec gone -- true"), "gone"),
        (words("sandbox delete gone"), "gone"),
        (words("sandbox logs gone"), "gone"),
        (words("policy rollback gone"), "gone"),
        (words("policy history gone"), "gone"),
        (words("provider delete gone"), "gone"),
        (words("inference backend remove gone"), "gone"),
        (words("inference backend add x --kind openai --url not-a-url --locality public --clearance public"), "url"),
        (words("sandbox create --name x --add-host nonsense"), "nonsense"),
    ];
    for (arguments, expected) in rows {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = stage.run(&arguments).await?;
        ensure!(ran.code != 0, "{arguments:?} succeeded: {ran:?}");
        ensure!(ran.stdout.is_empty(), "{arguments:?} wrote data: {ran:?}");
        ensure!(ran.stderr.to_lowercase().contains(expected), "{arguments:?}: expected {expected:?} in {}", ran.stderr);
        ensure!(ran.stderr.contains("error:"), "{arguments:?}: {}", ran.stderr);
    }
    let after = stage.run(&["policy", "history", "demo", "-o", "json"]).await?.ok()?.json()?;
    ensure!(before == after, "a refused push left a trace: {after}");
    stage.check(&[("curl -sS $API/status", "hello from the origin")]).await
}
