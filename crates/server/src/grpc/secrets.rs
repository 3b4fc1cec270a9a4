//! Pull secrets of a namespace. Written here, and never given back.

use tagtrail_api::v1;
use tagtrail_api::v1::secret_service_server::SecretService;
use tagtrail_domain::{Namespace, Refusal};
use tagtrail_event_log::codec::to_proto;
use tonic::{Request, Response, Status};

use super::{Services, check, errors};
use crate::secrets::{Listed, SecretError, Secrets};

/// Most secrets in one page.
const PAGE: usize = 500;

#[tonic::async_trait]
impl SecretService for Services {
    async fn create_secret(
        &self,
        request: Request<v1::CreateSecretRequest>,
    ) -> Result<Response<v1::CreateSecretResponse>, Status> {
        let v1::CreateSecretRequest { namespace, name, docker_config_json, dry_run } = request.into_inner();
        let namespace = parse(&namespace)?;
        let created = self.on_disk(&name, {
            let name = name.clone();
            move |secrets| {
                let created = secrets.create(&namespace, &name, &docker_config_json, dry_run)?;
                if !dry_run {
                    tracing::info!(%namespace, name, "a pull secret was created");
                }
                Ok(created)
            }
        });
        Ok(Response::new(v1::CreateSecretResponse { secret: Some(shown(&created.await?)) }))
    }

    async fn delete_secret(
        &self,
        request: Request<v1::DeleteSecretRequest>,
    ) -> Result<Response<v1::DeleteSecretResponse>, Status> {
        let v1::DeleteSecretRequest { namespace, name, dry_run } = request.into_inner();
        let namespace = parse(&namespace)?;
        let deleted = self.on_disk(&name, {
            let name = name.clone();
            move |secrets| {
                secrets.delete(&namespace, &name, dry_run)?;
                if !dry_run {
                    tracing::info!(%namespace, name, "a pull secret was deleted");
                }
                Ok(())
            }
        });
        deleted.await?;
        Ok(Response::new(v1::DeleteSecretResponse {}))
    }

    async fn list_secrets(
        &self,
        request: Request<v1::ListSecretsRequest>,
    ) -> Result<Response<v1::ListSecretsResponse>, Status> {
        let request = request.into_inner();
        let namespace = match request.namespace.as_str() {
            "" => None,
            text => Some(parse(text)?),
        };
        let size = self.page(request.page_size, PAGE);
        let listed = self.secrets.list(namespace.as_ref(), token(&request.page_token)?, size);
        let next_page_token = match listed.last() {
            Some(last) if listed.len() == size => format!("{}/{}", last.namespace, last.name),
            _ => String::new(),
        };
        let secrets = listed.iter().map(shown).collect();
        Ok(Response::new(v1::ListSecretsResponse { secrets, next_page_token }))
    }
}

impl Services {
    /// Does what waits for the disk where waiting hurts nobody.
    async fn on_disk<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Secrets) -> Result<T, SecretError> + Send + 'static,
    ) -> Result<T, Status> {
        let secrets = self.secrets.clone();
        let done = tokio::task::spawn_blocking(move || work(&secrets)).await;
        done.map_err(|panic| errors::internal(&panic))?.map_err(|error| errors::secret(name, error))
    }
}

fn parse(namespace: &str) -> Result<Namespace, Status> {
    check(Namespace::parse(namespace).map_err(|error| Refusal::bad_name(&error)))
}

fn token(text: &str) -> Result<Option<(Namespace, String)>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let parse = || {
        let (namespace, name) = text.split_once('/')?;
        Some((Namespace::parse(namespace).ok()?, name.to_owned()))
    };
    parse().map(Some).ok_or_else(|| errors::bad_page_token(text))
}

fn shown(listed: &Listed) -> v1::Secret {
    v1::Secret {
        namespace: listed.namespace.to_string(),
        name: listed.name.clone(),
        created_at: Some(to_proto::timestamp(listed.created)),
    }
}
