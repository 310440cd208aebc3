//! OpenSSH into a container whose image holds one program and no shell.

use anyhow::{Result, ensure};

use super::{SCRATCH, yard};
use crate::ssh::Client;

#[tokio::test(flavor = "multi_thread")]
async fn files_and_ports_need_nothing_in_the_image() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    yard.create("bare", SCRATCH, &[]).await?.ok()?;
    let client = Client::of(&yard.world, "bare")?;
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(yard.world.path("big"), &big)?;
    client.run("scp", &["big", "openshell-bare:/tmp/big"], b"").await?.ok()?;
    client.run("scp", &["openshell-bare:/tmp/big", "back"], b"").await?.ok()?;
    ensure!(std::fs::read(yard.world.path("back"))? == big);
    let listed = client.run("sftp", &["-b", "-", "openshell-bare"], b"ls -l /tmp\nrm /tmp/big\n").await?.ok()?;
    ensure!(listed.stdout.contains("3000000") && listed.stdout.contains("big"), "{listed:?}");

    let refused = client.run("ssh", &["openshell-bare", "echo hi"], b"").await?;
    ensure!(refused.code == 127 && refused.stderr.contains("cannot run sh in sandbox bare"), "{refused:?}");
    let nobody = client.run("ssh", &["-W", "127.0.0.1:9", "openshell-bare"], b"").await?;
    ensure!(nobody.stderr.contains("nothing answers on port 9"), "{nobody:?}");
    Ok(())
}
