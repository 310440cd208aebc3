//! Users, tokens, credentials and the audit trail, over the gateway's REST API.

use openshell_api::audit::{AuditHead, AuditLink};
use openshell_api::authority::{AuthorityState, FinishTurn};
use openshell_api::inference::{Budget, BudgetUse};
use openshell_api::page::MAX_LIMIT;
use openshell_api::provider::{Provider, ProviderType, RotatedKeys, UpdateProvider};
use openshell_api::signing::{FinishSigningTurn, SigningState};
use openshell_api::user::{CreateToken, CreateUser, CreatedToken, SetUser, Token, User};
use openshell_api::{Name, Page};

use super::Client;
use super::rest::segment;
use crate::error::Error;

impl Client {
    /// `GET /v1/users`.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        self.all("/v1/users", &[]).await
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
        self.all(&format!("/v1/users/{}/tokens", segment(user)), &[]).await
    }

    /// `POST /v1/users/{name}/tokens`.
    pub async fn create_token(&self, user: &str, token: &CreateToken) -> Result<CreatedToken, Error> {
        self.post(&format!("/v1/users/{}/tokens", segment(user)), token).await
    }

    /// `DELETE /v1/tokens/{id}`.
    pub async fn revoke_token(&self, id: &str) -> Result<(), Error> {
        self.delete(&format!("/v1/tokens/{}", segment(id))).await
    }

    /// `GET /v1/provider-types`.
    pub async fn provider_types(&self) -> Result<Vec<ProviderType>, Error> {
        self.all("/v1/provider-types", &[]).await
    }

    /// `PUT /v1/provider-types/{name}`.
    pub async fn set_provider_type(&self, kind: &ProviderType) -> Result<ProviderType, Error> {
        self.put(&format!("/v1/provider-types/{}", kind.name), kind).await
    }

    /// `DELETE /v1/provider-types/{name}`.
    pub async fn delete_provider_type(&self, name: &Name) -> Result<(), Error> {
        self.delete(&format!("/v1/provider-types/{name}")).await
    }

    /// `GET /v1/providers/{name}`.
    pub async fn provider(&self, name: &Name) -> Result<Provider, Error> {
        self.get(&format!("/v1/providers/{name}")).await
    }

    /// `PUT /v1/providers/{name}`.
    pub async fn update_provider(&self, name: &Name, update: &UpdateProvider) -> Result<Provider, Error> {
        self.put(&format!("/v1/providers/{name}"), update).await
    }

    /// `POST /v1/keys/rotate`.
    pub async fn rotate_keys(&self) -> Result<RotatedKeys, Error> {
        self.post("/v1/keys/rotate", &()).await
    }

    /// `POST /v1/authority/turn`.
    pub async fn turn_authority(&self) -> Result<AuthorityState, Error> {
        self.post("/v1/authority/turn", &()).await
    }

    /// `POST /v1/signing-key/turn`.
    pub async fn turn_signing_key(&self) -> Result<SigningState, Error> {
        self.post("/v1/signing-key/turn", &()).await
    }

    /// `POST /v1/signing-key/finish`.
    pub async fn finish_signing_key(&self, force: bool) -> Result<SigningState, Error> {
        self.post("/v1/signing-key/finish", &FinishSigningTurn { force }).await
    }

    /// `POST /v1/authority/finish`.
    pub async fn finish_authority(&self, force: bool) -> Result<AuthorityState, Error> {
        self.post("/v1/authority/finish", &FinishTurn { force }).await
    }

    /// `GET /v1/audit`: a page, oldest links first.
    pub async fn audit_page(&self, cursor: Option<String>) -> Result<Page<AuditLink>, Error> {
        self.page("/v1/audit", &[], cursor, MAX_LIMIT).await
    }

    /// `GET /v1/audit?newest=true`: the newest so many links.
    pub async fn audit(&self, query: &[(&str, String)], limit: usize) -> Result<Vec<AuditLink>, Error> {
        let mut query = query.to_vec();
        query.push(("newest", "true".to_owned()));
        self.newest("/v1/audit", &query, limit, MAX_LIMIT).await
    }

    /// `GET /v1/audit/head`.
    pub async fn audit_head(&self) -> Result<AuditHead, Error> {
        self.get("/v1/audit/head").await
    }
}
