//! The log proves itself.

use tagtrail_api::v1;
use tagtrail_api::v1::audit_service_server::AuditService;
use tonic::{Request, Response, Status};

use super::{Services, errors};

#[tonic::async_trait]
impl AuditService for Services {
    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        let covers = request.into_inner().covers_sequence;
        let signed = self.audit.covering(covers).await.map_err(|error| errors::not_proven(&error))?;
        let v1::AuditStatus { origin, verifier_key, .. } = self.audit.status();
        Ok(Response::new(v1::GetCheckpointResponse {
            checkpoint: signed.note.clone(),
            verifier_key,
            origin,
            size: signed.checkpoint.size(),
            root: signed.checkpoint.root().as_bytes().to_vec(),
        }))
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<v1::GetInclusionProofRequest>,
    ) -> Result<Response<v1::GetInclusionProofResponse>, Status> {
        let sequence = request.into_inner().sequence;
        let signed = self.audit.covering(sequence).await.map_err(|error| errors::not_proven(&error))?;
        self.in_turn(true, move |services| {
            let proven =
                services.audit.receipt(sequence, &signed).map_err(|error| errors::not_proven(&error))?;
            Ok(v1::GetInclusionProofResponse {
                event: proven.event.to_vec(),
                index: proven.index,
                size: proven.size,
                hashes: proven.hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
                receipt: proven.receipt,
            })
        })
        .await
    }

    async fn get_consistency_proof(
        &self,
        request: Request<v1::GetConsistencyProofRequest>,
    ) -> Result<Response<v1::GetConsistencyProofResponse>, Status> {
        let request = request.into_inner();
        let signed = self.audit.covering(0).await.map_err(|error| errors::not_proven(&error))?;
        self.in_turn(true, move |services| {
            let to_size = if request.to_size == 0 { signed.checkpoint.size() } else { request.to_size };
            let hashes = services.audit.consistency(request.from_size, to_size);
            let hashes = hashes.map_err(|error| errors::not_proven(&error))?;
            Ok(v1::GetConsistencyProofResponse {
                to_size,
                hashes: hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
                checkpoint: signed.note.clone(),
            })
        })
        .await
    }
}
