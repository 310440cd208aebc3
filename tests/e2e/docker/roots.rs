//! An image that tells its programs of roots of its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};

use super::{DEBIAN, yard};

const IMAGE: &str = "openshell-test/own-roots";

#[tokio::test(flavor = "multi_thread")]
async fn an_images_own_bundle_is_added_to() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    let (own, file) = (yard.world.path("own"), yard.world.path("own/ca.pem"));
    std::fs::create_dir(&own)?;
    std::fs::set_permissions(&own, Permissions::from_mode(0o755))?;
    let pem = format!("# the image's own\n{}", std::fs::read_to_string(yard.world.path("origins.pem"))?);
    std::fs::write(&file, &pem)?;
    std::fs::set_permissions(&file, Permissions::from_mode(0o644))?;
    let container = yard.docker(&["create", DEBIAN, "true"])?;
    yard.docker(&["cp", &own.to_string_lossy(), &format!("{container}:/opt/own")])?;
    let changes = ["SSL_CERT_FILE", "CURL_CA_BUNDLE"].map(|name| format!("ENV {name}=/opt/own/ca.pem"));
    yard.docker(&["commit", "--change", &changes[0], "--change", &changes[1], &container, IMAGE])?;
    yard.docker(&["rm", &container])?;

    yard.create("own", IMAGE, &[]).await?.ok()?;
    yard.allow("own", "/usr/bin/curl").await?;
    yard.check(
        "own",
        &[
            ("echo $SSL_CERT_FILE $CURL_CA_BUNDLE", "/opt/own/ca.pem /opt/own/ca.pem"),
            ("curl -sS -o /dev/null -w '%{http_code}' $API/status", "200"),
        ],
    )
    .await?;
    let inside = yard.exec("own", &["cat", "/opt/own/ca.pem"]).await?.ok()?.stdout;
    ensure!(inside.starts_with(pem.trim_end()) && inside.len() > pem.len(), "not added to: {inside}");
    yard.run(&["sandbox", "delete", "own"]).await?.ok()?;
    yard.docker(&["rmi", IMAGE])?;
    Ok(())
}
