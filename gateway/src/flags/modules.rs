//! Flags that say where bytes of modules go.

use std::path::PathBuf;

use clap::Args;
use openshell_gateway::bucket::{BucketOptions, InvalidPlace, Place};

/// Where bytes of modules go.
#[derive(Args)]
pub struct Modules {
    /// Bucket of an S3-compatible server for the bytes of modules, as s3://BUCKET/PREFIX [default: the database]. Its keys come from
    /// --modules-keys or from the usual variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY …), never from a command line.
    #[arg(long, value_name = "PLACE", env = "OPENSHELL_MODULES", value_parser = place)]
    modules: Option<Place>,
    /// URL of its server [default: Amazon's, in the region].
    #[arg(long, value_name = "URL", env = "OPENSHELL_MODULES_ENDPOINT", requires = "modules")]
    modules_endpoint: Option<String>,
    /// Its region [default: as AWS_REGION says, else us-east-1].
    #[arg(long, value_name = "REGION", env = "OPENSHELL_MODULES_REGION", requires = "modules")]
    modules_region: Option<String>,
    /// File with its keys, in the form of ~/.aws/credentials, for its owner alone; read anew for every request.
    #[arg(long, value_name = "FILE", env = "OPENSHELL_MODULES_KEYS", requires = "modules")]
    modules_keys: Option<PathBuf>,
}

impl Modules {
    /// The bucket; `None`: the database.
    pub fn options(self) -> Option<BucketOptions> {
        Some(BucketOptions {
            place: self.modules?,
            endpoint: self.modules_endpoint,
            region: self.modules_region,
            keys: self.modules_keys,
        })
    }
}

fn place(given: &str) -> Result<Place, String> {
    given.parse().map_err(|error: InvalidPlace| error.to_string())
}
