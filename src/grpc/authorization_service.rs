use tonic::{Request, Response, Status, async_trait};

use super::convert;
use super::layers::record_tenant;
use super::proto::{
    CreateAuthorizationUrlRequest, CreateAuthorizationUrlResponse, ExchangeAuthorizationCodeRequest,
    ExchangeAuthorizationCodeResponse, authorization_service_server,
};
use crate::credentials::SignIns;

/// Signs users in, for callers that own the browser's redirect.
#[derive(Clone, Debug)]
pub struct AuthorizationService {
    sign_ins: SignIns,
}

impl AuthorizationService {
    /// Answers from these.
    pub fn new(sign_ins: SignIns) -> Self {
        Self { sign_ins }
    }
}

#[async_trait]
impl authorization_service_server::AuthorizationService for AuthorizationService {
    async fn create_authorization_url(
        &self,
        request: Request<CreateAuthorizationUrlRequest>,
    ) -> Result<Response<CreateAuthorizationUrlResponse>, Status> {
        let request = convert::sign_in_request(request.into_inner())?;
        if let Some(tenant) = request.tenant {
            record_tenant(tenant);
        }
        Ok(Response::new(convert::begun_sign_in(self.sign_ins.begin(request).await?)))
    }

    async fn exchange_authorization_code(
        &self,
        request: Request<ExchangeAuthorizationCodeRequest>,
    ) -> Result<Response<ExchangeAuthorizationCodeResponse>, Status> {
        let signed_in = self.sign_ins.finish(convert::sign_in_answer(request.into_inner())).await?;
        record_tenant(signed_in.context_identifier);
        Ok(Response::new(convert::signed_in(signed_in)))
    }
}
