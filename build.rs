//! Generates the gRPC code. protox is a protobuf compiler in Rust, so the build needs no protoc on the machine.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const PROTO_ROOT: &str = "proto";
const PROTO_FILES: [&str; 3] = [
    "superoffice/ticket/v1/ticket_service.proto",
    "superoffice/ticket/v1/authorization_service.proto",
    "superoffice/ticket/v1/tenant_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO_ROOT}");
    let mut descriptors = protox::compile(PROTO_FILES, [PROTO_ROOT])?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        // The generated Debug would print secrets.
        .skip_debug([
            "superoffice.ticket.v1.SystemTicket",
            "superoffice.ticket.v1.RefreshAccessTokenRequest",
            "superoffice.ticket.v1.RefreshAccessTokenResponse",
            "superoffice.ticket.v1.PutTenantRequest",
            "superoffice.ticket.v1.CreateAuthorizationUrlResponse",
            "superoffice.ticket.v1.ExchangeAuthorizationCodeRequest",
            "superoffice.ticket.v1.ExchangeAuthorizationCodeResponse",
        ])
        .compile_fds(descriptors.clone())?;

    // `compile_fds` writes no descriptor set. Reflection needs one, without the comments.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let descriptor_file = PathBuf::from(std::env::var("OUT_DIR")?).join("superoffice.ticket.v1.bin");
    std::fs::write(descriptor_file, descriptors.encode_to_vec())?;
    Ok(())
}
