//! Who asks a gateway, and how it lets people in.

use std::time::Duration;

use openshell_api::Problem;
use openshell_api::discovery::{DISCOVERY_PATH, Discovery};
use openshell_api::user::WhoAmI;
use reqwest::Method;

use super::rest::{self, Client};
use crate::error::Error;

const WHOAMI: &str = "/v1/whoami";
/// A page of a proxy's is no reason to read for long.
const LIMIT: Duration = Duration::from_secs(15);

impl Client {
    /// `GET /.well-known/openshell`. `None`: a gateway that knows tokens alone and says nothing about it.
    pub async fn discovery(&self) -> Result<Option<Discovery>, Error> {
        match self.get_openly(DISCOVERY_PATH, LIMIT).await {
            Ok(bytes) => rest::parse(&bytes, &format!("GET {DISCOVERY_PATH}")).map(Some),
            Err(Error::Refused(problem)) if problem.status == 404 && problem.code == "no_such_path" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `GET /v1/whoami`.
    pub async fn whoami(&self) -> Result<WhoAmI, Error> {
        let request = self.request(Method::GET, WHOAMI).timeout(LIMIT);
        rest::json(self.send(Method::GET, WHOAMI, request).await?, "GET", WHOAMI).await
    }

    /// The same. `None`: the gateway knows one token and no users.
    pub async fn whoami_if_known(&self) -> Result<Option<WhoAmI>, Error> {
        match self.whoami().await {
            Ok(whoami) => Ok(Some(whoami)),
            Err(Error::Refused(Problem { status: 404, .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
