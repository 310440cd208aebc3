//! Users, tokens, credentials and the audit trail, over the gateway's REST API.

use openshell_api::audit::{AuditHead, AuditPage};
use openshell_api::inference::{Budget, BudgetUse};
use openshell_api::provider::{Provider, RotatedKeys, UpdateProvider};
use openshell_api::user::{CreateToken, CreateUser, CreatedToken, SetUser, Token, User};
use openshell_api::{Name, Problem};

use super::Client;
use super::rest::segment;
use crate::error::Error;

impl Client {
    /// `GET /v1/users`.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        self.get("/v1/users").await
    }

    /// `POST /v1/users`.
    pub async fn create_user(&self, user: &CreateUser) -> Result<User, Error> {
        self.post("/v1/users", user).await
    }

    /// `PUT /v1/users/{name}`.
    pub async fn set_user(&self, name: &Name, user: &SetUser) -> Result<User, Error> {
        self.put(&format!("/v1/users/{name}"), user).await
    }

    /// `DELETE /v1/users/{name}`.
    pub async fn delete_user(&self, name: &Name) -> Result<(), Error> {
        self.delete(&format!("/v1/users/{name}")).await
    }

    /// `GET /v1/users/{name}/budgets`.
    pub async fn budgets(&self, name: &str) -> Result<Vec<BudgetUse>, Error> {
        self.get(&format!("/v1/users/{}/budgets", segment(name))).await
    }

    /// `PUT /v1/users/{name}/budgets`.
    pub async fn set_budgets(&self, name: &str, budgets: &[Budget]) -> Result<Vec<BudgetUse>, Error> {
        self.put(&format!("/v1/users/{}/budgets", segment(name)), &budgets).await
    }

    /// `GET /v1/users/{name}/tokens`.
    pub async fn tokens(&self, user: &str) -> Result<Vec<Token>, Error> {
        self.get(&format!("/v1/users/{}/tokens", segment(user))).await
    }

    /// `POST /v1/users/{name}/tokens`.
    pub async fn create_token(&self, user: &str, token: &CreateToken) -> Result<CreatedToken, Error> {
        self.post(&format!("/v1/users/{}/tokens", segment(user)), token).await
    }

    /// `DELETE /v1/tokens/{id}`.
    pub async fn revoke_token(&self, id: &str) -> Result<(), Error> {
        self.delete(&format!("/v1/tokens/{}", segment(id))).await
    }

    /// One of `GET /v1/providers`.
    pub async fn provider(&self, name: &Name) -> Result<Provider, Error> {
        let found = self.providers().await?.into_iter().find(|provider| provider.name == *name);
        let missing = || Problem::new(404, "provider_not_found", format!("there is no provider {name}"));
        found.ok_or_else(|| Error::Refused(missing()))
    }

    /// `PUT /v1/providers/{name}`.
    pub async fn update_provider(&self, name: &Name, update: &UpdateProvider) -> Result<Provider, Error> {
        self.put(&format!("/v1/providers/{name}"), update).await
    }

    /// `POST /v1/keys/rotate`.
    pub async fn rotate_keys(&self) -> Result<RotatedKeys, Error> {
        self.post("/v1/keys/rotate", &()).await
    }

    /// `GET /v1/audit`: a page.
    pub async fn audit(&self, query: &[(&str, String)]) -> Result<AuditPage, Error> {
        self.get_with("/v1/audit", query).await
    }

    /// `GET /v1/audit/head`.
    pub async fn audit_head(&self) -> Result<AuditHead, Error> {
        self.get("/v1/audit/head").await
    }
}
