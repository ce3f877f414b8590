use tonic::{Request, Response, Status, async_trait};

use super::convert;
use super::layers::CallRecord;
use super::permits::{Permits, caller_of};
use super::proto::{
    CreateAuthorizationUrlRequest, CreateAuthorizationUrlResponse, ExchangeAuthorizationCodeRequest,
    ExchangeAuthorizationCodeResponse, authorization_service_server,
};
use crate::authorization::Method;
use crate::credentials::{SignIns, SignedIn};

/// Signs users in, for callers that own the browser's redirect.
#[derive(Clone, Debug)]
pub struct AuthorizationService {
    sign_ins: SignIns,
    permits: Permits,
}

impl AuthorizationService {
    /// Answers from these whom `permits` lets ask.
    pub fn new(sign_ins: SignIns, permits: Permits) -> Self {
        Self { sign_ins, permits }
    }
}

#[async_trait]
impl authorization_service_server::AuthorizationService for AuthorizationService {
    async fn create_authorization_url(
        &self,
        request: Request<CreateAuthorizationUrlRequest>,
    ) -> Result<Response<CreateAuthorizationUrlResponse>, Status> {
        let record = CallRecord::of(&request);
        let tenant = convert::optional_context_identifier(&request.get_ref().context_identifier)?;
        self.permits.permit(&request, Method::CreateAuthorizationUrl, tenant)?;
        let caller = caller_of(&request)?.id.clone();
        let sign_in = convert::sign_in_request(request.into_inner(), tenant, caller);
        let begun = self.sign_ins.begin(sign_in).await?;
        record.change("sign_in_begun");
        Ok(Response::new(convert::begun_sign_in(begun)))
    }

    async fn exchange_authorization_code(
        &self,
        request: Request<ExchangeAuthorizationCodeRequest>,
    ) -> Result<Response<ExchangeAuthorizationCodeResponse>, Status> {
        let record = CallRecord::of(&request);
        self.permits.permit(&request, Method::ExchangeAuthorizationCode, None)?;
        let caller = caller_of(&request)?.id.clone();
        // Which tenant the user signs in to comes out only when the code is exchanged.
        let is_entitled = self.permits.entitlement(caller.clone(), Method::ExchangeAuthorizationCode, record.clone());
        let answer = convert::sign_in_answer(request.into_inner(), caller);
        let of_sign_in = record.clone();
        let tell = move |signed_in: &SignedIn| {
            of_sign_in.user(&signed_in.user);
            of_sign_in.change(signed_in.change());
        };
        let signed_in = self.sign_ins.finish(answer, is_entitled, tell).await?;
        record.access_token(&signed_in.access_token, signed_in.expire_time, "sign_in");
        Ok(Response::new(convert::signed_in(signed_in)))
    }
}
